"""A simulated upstream: a real HTTP server that speaks Anthropic's Messages API, with faults on request.

Run it with `python -m local.upstream`, or inside a test:

    async with SimulatedUpstream() as upstream:
        client = AsyncAnthropic(api_key="any", base_url=upstream.url)

The model's name chooses what goes wrong: `sim-error-mid?after=20`. `faults.py` lists the faults, `directives.py` what
may follow the question mark.
"""

from local.upstream.recorder import RecordedRequest
from local.upstream.server import SimulatedUpstream

__all__ = ["RecordedRequest", "SimulatedUpstream"]
