"""What was measured, as text, as JSON and as a picture."""

import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from tabulate import tabulate

from bench import figures
from bench.modes import MODES, Measured

_VERSIONS: Final = ("anthropic", "aiohttp", "fastapi", "uvicorn", "uvloop", "psycopg", "sse-starlette")
_BASE: Final = "naive"
# Loads whose figure is what a request costs; of the others it is an event.
_OF_REQUESTS: Final = ("ttft1", "ttft50", "requests")

Value = Callable[[Measured], float]


def table(measured: Sequence[Measured]) -> str:
    return "\n\n".join(_of_mode(measured, mode.name, mode.says) for mode in MODES if _servers(measured, mode.name))


def _servers(measured: Sequence[Measured], mode: str) -> list[str]:
    return list(dict.fromkeys(each.server for each in measured if each.mode == mode))


def _of_mode(measured: Sequence[Measured], mode: str, says: str) -> str:
    rows = [_row(measured, mode, server) for server in _servers(measured, mode)]
    return f"{mode}: {says}\n\n" + tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def _row(measured: Sequence[Measured], mode: str, server: str) -> dict[str, str]:
    # Its process tree is the bench's own.
    has_cpu = server != "upstream itself"

    def told(value: Value, form: str = ".1f") -> str:
        each = figures.figure(figures.of(measured, mode, server, value))
        return f"{each.median:{form}} ({each.least:{form}}-{each.most:{form}})"

    if mode in _OF_REQUESTS:
        return {
            "server": server,
            "first text ms": told(lambda each: each.first_text_p50, ".2f"),
            "p99": told(lambda each: each.first_text_p99),
            "added, x naive": _added(measured, mode, server),
            "CPU ms/request": told(lambda each: each.cpu_per_request / 1000, ".2f") if has_cpu else "-",
            "x naive": _times(measured, mode, server, lambda each: each.cpu_per_request),
            "Postgres ms": told(lambda each: each.database_cpu_per_event * each.events / 1000 / _streams(mode), ".2f"),
            "load's own ms": told(lambda each: each.client_cpu_per_event * each.events / 1000 / _streams(mode), ".2f"),
        }
    return {
        "server": server,
        "CPU us/event": told(lambda each: each.cpu_per_event) if has_cpu else "-",
        "x naive": _times(measured, mode, server, lambda each: each.cpu_per_event),
        "x nginx": _times(measured, mode, server, lambda each: each.cpu_per_event, base="nginx"),
        "Postgres us": told(lambda each: each.database_cpu_per_event),
        "load's own us": told(lambda each: each.client_cpu_per_event),
        "late ms": told(lambda each: each.lateness_p50),
        "p99": told(lambda each: each.lateness_p99),
    }


def _streams(mode: str) -> int:
    return next(each.streams for each in MODES if each.name == mode)


def _times(measured: Sequence[Measured], mode: str, server: str, value: Value, base: str = _BASE) -> str:
    theirs = figures.of(measured, mode, base, value)
    if not theirs or server == "upstream itself":
        return "-"
    each = figures.ratio(figures.of(measured, mode, server, value), theirs)
    return f"{each.median:.2f} ({each.least:.2f}-{each.most:.2f})"


def _added(measured: Sequence[Measured], mode: str, server: str) -> str:
    """What comes on top of asking the upstream itself, beside what the naive server adds."""

    def added(of: str) -> list[float]:
        direct = figures.of(measured, mode, "upstream itself", lambda each: each.first_text_p50)
        through = figures.of(measured, mode, of, lambda each: each.first_text_p50)
        return [mine - least for mine, least in zip(through, direct, strict=False)]

    ours, theirs = added(server), added(_BASE)
    if not ours or not theirs or server == "upstream itself":
        return "-"
    each = figures.ratio(ours, theirs)
    return f"{figures.figure(ours).median:.2f} ms, {each.median:.2f} ({each.least:.2f}-{each.most:.2f})"


def about() -> dict[str, str]:
    """On what it was measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in _VERSIONS},
    }


def write_json(measured: Sequence[Measured], path: Path) -> None:
    whole = {"about": about(), "complaints": figures.complaints(measured), "measured": measured}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole)))


def plot(measured: Sequence[Measured], path: Path) -> None:
    """CPU per event of each server, a panel a load."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    modes = [mode for mode in MODES if mode.name not in _OF_REQUESTS and _servers(measured, mode.name)]
    if not modes:
        return
    picture, panels = pyplot.subplots(1, len(modes), figsize=(4 * len(modes), 2.8), squeeze=False)
    for panel, mode in zip(panels[0], modes, strict=True):
        names = [name for name in _servers(measured, mode.name) if name != "upstream itself"]
        every = [
            figures.figure(figures.of(measured, mode.name, name, lambda each: each.cpu_per_event)) for name in names
        ]
        heights = [each.median for each in every]
        ends = [[each.median - each.least for each in every], [each.most - each.median for each in every]]
        panel.barh(names, heights, xerr=ends, color="#4477aa")
        panel.set_title(mode.says, fontsize=9)
        panel.set_xlabel("CPU us per event")
        panel.invert_yaxis()
    picture.tight_layout()
    picture.savefig(path)
