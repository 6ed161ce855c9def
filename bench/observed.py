"""`python -m bench.observed`: what it costs to tell of everything, against a service that tells of nothing.

Everything: the log at INFO, metrics in both forms, and spans to a collector of which nothing is kept.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import click

from bench import figures, report
from bench.__main__ import run
from bench.modes import MODES, Measured
from bench.servers import HOST, Running, Server, headwater, python, wait_for
from local.addresses import free_port

_SILENT: Final = {"HEADWATER_LOG_LEVEL": "ERROR", "HEADWATER_EMF": "false"}
_TOLD: Final = {"HEADWATER_EMF": "true", "HEADWATER_METRICS_KEY": "the-key-of-the-metrics"}
# Else the spans of one load would be sent, and paid for, under the next.
_AT_ONCE: Final = {"OTEL_BSP_SCHEDULE_DELAY": "200"}
_OF_REQUESTS: Final = "requests"


@contextmanager
def _telling(upstream: int, *, traces: bool) -> Iterator[Running]:
    port = free_port(HOST)
    with python("bench.observed", "--sink", str(port)):
        wait_for(port)
        exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **_AT_ONCE} if traces else {}
        with headwater(upstream, _TOLD | exporting) as running:
            yield running


SERVERS: Final = (
    Server("silent", partial(headwater, variables=_SILENT)),
    Server("log and metrics", partial(_telling, traces=False)),
    Server("everything", partial(_telling, traces=True)),
)


@click.command()
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--mode", "modes", multiple=True, default=("burst", "paced20", "requests"), show_default=True)
@click.option("--sink", "sink", type=int, hidden=True)
def main(rounds: int, modes: tuple[str, ...], sink: int | None) -> None:
    """CPU per event and per request, with and without all that an operator can see."""
    if sink is not None:
        ThreadingHTTPServer(("127.0.0.1", sink), _Sink).serve_forever()
    measured = run(SERVERS, [mode for mode in MODES if mode.name in modes], rounds)
    click.echo("\n" + report.table(measured) + "\n")
    for mode in modes:
        for server in SERVERS[1:]:
            click.echo(f"{mode}: {server.name} / silent = {_ratio(measured, mode, server.name)}")
    for complaint in figures.complaints(measured):
        click.echo(f"Too noisy to tell? {complaint}.")


def _ratio(measured: list[Measured], mode: str, server: str) -> str:
    def cpu(each: Measured) -> float:
        return each.cpu_per_request if mode == _OF_REQUESTS else each.cpu_per_event

    found = figures.ratio(figures.of(measured, mode, server, cpu), figures.of(measured, mode, "silent", cpu))
    return f"{found.median:.3f} ({found.least:.3f}-{found.most:.3f})"


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
