"""What the comparison's own client takes: 1,000 paced streams from an upstream that is never the limit."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.servers import HOST, python, wait_for
from compare.results import Distribution, Results, read
from local.addresses import free_port

STREAMS: Final = 1000
PER_SECOND: Final = 24
# Of each stream. Then 100 of them begin in a second, and so many end.
SECONDS: Final = 10
_LONG: Final = 40


def measure(streams: int = STREAMS) -> Results:
    """A steady load that holds so many streams on the average."""
    with tempfile.TemporaryDirectory(prefix="hw-bench-client-") as folder:
        output = Path(folder) / "results.json"
        port = free_port(HOST)
        model = f"events={PER_SECOND * SECONDS} rate={PER_SECOND} first=0 hold=0 pad=0"
        load = ["--rate", streams / SECONDS, "--seconds", _LONG, "--warmup", SECONDS + 2]
        asked = ["--dialect", "anthropic_messages", "--model", model, "--input-tokens", 20, "--output", output]
        command = ["run", "--target", f"upstream=http://{HOST}:{port}", *load, *asked]
        with python("bench.upstream", str(port)):
            wait_for(port)
            subprocess.run([sys.executable, "-m", "compare", *map(str, command)], check=True, stdout=subprocess.DEVNULL)
        return read(output)


def told(results: Results) -> Sequence[dict[str, str]]:
    [target] = results.targets
    figures = {
        "streams held, mean / most": f"{target.traffic.held:.0f} / {target.traffic.held_most}",
        "requests, of them whole": f"{target.counts.requests:,}, {target.counts.whole:,}",
        "share of a core": f"{results.client.cpu_share:.0%}",
        "its loop late, p99": f"{results.client.lag:.1f} ms",
        "first token, p50 / p99": _quantiles(target.measures["ttft"]),
        "gap, p50 / p99": _quantiles(target.measures["gap"]),
    }
    return [{"figure": name, "": value} for name, value in figures.items()]


def _quantiles(each: Distribution) -> str:
    return f"{each.p50.value:.1f} / {each.p99.value:.1f} ms"
