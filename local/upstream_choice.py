"""The upstream: the real one where the environment names it, else a simulated one."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.config import Settings
from local.addresses import answers, free_port, url_of
from local.processes import Child, running
from local.state import DataFolder

_SIMULATED_MODEL = "claude-sim"
# Small and quick; Bedrock has names of its own.
_MODELS = {
    "anthropic": "claude-haiku-4-5",
    "aws": "claude-haiku-4-5",
    "bedrock": "global.anthropic.claude-haiku-4-5-20251001-v1:0",
}


@dataclass(frozen=True, slots=True)
class Upstream:
    url: str
    shown: str
    model: str
    simulated: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    server: tuple[Child, ...] = ()


@contextmanager
def upstream(settings: Settings, model: str | None, folder: DataFolder) -> Iterator[Upstream]:
    """With `model` if it is given, else with one that fits."""
    if _is_real(settings):
        yield _real(settings, model)
        return
    if url := _of_first(folder):
        yield _simulated(url, model)
        return
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "local.upstream", "--port", str(port)]
    with (
        (folder.path / "upstream.log").open("wb") as log,
        running("The simulated upstream", command, os.environ, log=log, patience=0.3) as server,
    ):
        yield _simulated(url_of("127.0.0.1", port), model, server)


def _is_real(settings: Settings) -> bool:
    return bool(settings.upstream != "anthropic" or settings.upstream_base_url or settings.upstream_api_key)


def _real(settings: Settings, model: str | None) -> Upstream:
    kind = settings.upstream
    address = settings.upstream_base_url or ("https://api.anthropic.com" if kind == "anthropic" else kind)
    return Upstream(address, address, model or _MODELS[kind])


def _of_first(folder: DataFolder) -> str | None:
    """The simulated upstream of the launcher that was here first, while it is there."""
    first = folder.first_run()
    if first and first.upstream_simulated and answers(first.upstream_url):
        return first.upstream_url
    return None


def _simulated(url: str, model: str | None, *server: Child) -> Upstream:
    return Upstream(
        url,
        f"simulated, {url} (set ANTHROPIC_API_KEY for the real one)",
        model or _SIMULATED_MODEL,
        simulated=True,
        environment={"HEADWATER_UPSTREAM_BASE_URL": url, "HEADWATER_UPSTREAM_API_KEY": "simulated"},
        server=server,
    )
