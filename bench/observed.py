"""`python -m bench.observed`: what it costs to tell of everything, against a service that tells of nothing.

Everything: the log at INFO, metrics in both forms, and spans to a collector of which nothing is kept. An event's cost
and a completion's are told apart by answers of two lengths: what the long ones take beyond the short ones is their
events'. All servers take turns, and what is compared is of the same round.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from bench import figures, report
from bench.__main__ import run
from bench.modes import Measured, Mode
from bench.servers import HOST, Running, Server, headwater, python, wait_for
from local.addresses import free_port

_SILENT: Final = {"HEADWATER_LOG_LEVEL": "ERROR", "HEADWATER_EMF": "false"}
_TOLD: Final = {"HEADWATER_EMF": "true", "HEADWATER_METRICS_KEY": "the-key-of-the-metrics"}
# The spans of a load are sent, and paid for, before the next one.
_SOON: Final = {"OTEL_BSP_SCHEDULE_DELAY": "1000"}
_UNTIL_SENT: Final = 1.3

_SHORT: Final = Mode("short", "answers of 5 events, 20 at a time", 600, 20, 5)
_LONG: Final = (
    Mode("burst", "20 streams as fast as they go", 20, 20, 10_000),
    Mode("paced", "100 streams of 50 events a second", 100, 100, 300, 50, 1),
)


@contextmanager
def _telling(upstream: int, *, traces: bool) -> Iterator[Running]:
    port = free_port(HOST)
    with python("bench.observed", "--sink", str(port)):
        wait_for(port)
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **_SOON} if traces else {}
        with headwater(upstream, _TOLD | exporting) as running:
            yield running


SERVERS: Final = (
    Server("silent", partial(headwater, variables=_SILENT), afterwards=_UNTIL_SENT),
    Server("log and metrics", partial(_telling, traces=False), afterwards=_UNTIL_SENT),
    Server("everything", partial(_telling, traces=True), afterwards=_UNTIL_SENT),
)


class Cost(NamedTuple):
    """In microseconds of CPU."""

    event: float
    completion: float


@click.command()
@click.option("--rounds", default=5, type=click.IntRange(2), show_default=True)
@click.option(
    "--server", "servers", multiple=True, type=click.Choice([each.name for each in SERVERS[1:]]), help="All by default."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every measurement here.")
@click.option("--sink", "sink", type=int, hidden=True)
def main(rounds: int, servers: Sequence[str], json_path: Path | None, sink: int | None) -> None:
    """CPU per event and per completion, with and without all that an operator can see."""
    if sink is not None:
        ThreadingHTTPServer(("127.0.0.1", sink), _Sink).serve_forever()
    chosen = [each for each in SERVERS if not servers or each.name in ("silent", *servers)]
    measured = run(chosen, [_SHORT, *_LONG], rounds)
    for line in told(measured):
        click.echo(line)
    for complaint in figures.complaints(measured):
        click.echo(f"Too noisy to tell? {complaint}.")
    if json_path is not None:
        report.write_json(measured, json_path)


def told(measured: Sequence[Measured]) -> Iterator[str]:
    """What each server's events and completions cost beside those of the silent one: medians with 95 % intervals."""
    for server in dict.fromkeys(each.server for each in measured if each.server != "silent"):
        for mode in _LONG:
            pairs = list(zip(costs(measured, mode, server), costs(measured, mode, "silent"), strict=True))
            yield f"{server}, {mode.name} ({mode.says}), {len(pairs)} rounds:"
            yield "  an event: " + _told([ours.event / least.event for ours, least in pairs], "x silent", ".3f")
            yield "  a completion: " + _told([ours.completion - least.completion for ours, least in pairs], "us more")
            yield "  silent: " + "; ".join(
                [
                    "an event " + _told([least.event for _, least in pairs], "us"),
                    "a completion " + _told([least.completion for _, least in pairs], "us"),
                ]
            )


def costs(measured: Sequence[Measured], mode: Mode, server: str) -> list[Cost]:
    """One a round: the line through what a short answer took and what a long one did."""

    def streams(of: Mode) -> list[float]:
        return figures.of(measured, of.name, server, lambda each: each.cpu_per_request)

    return [
        Cost(event := (long - short) / (mode.events - _SHORT.events), short - event * _SHORT.events)
        for short, long in zip(streams(_SHORT), streams(mode), strict=True)
    ]


def _told(values: Sequence[float], unit: str, form: str = ".1f") -> str:
    each = figures.estimate(values)
    return f"{each.median:{form}} {unit} ({each.low:{form}} to {each.high:{form}})"


class _Sink(BaseHTTPRequestHandler):
    """A collector that is done with whatever it is sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main())
