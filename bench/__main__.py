"""`python -m bench`: what a stream costs through Headwater and its peers. Only ratios within a run mean anything."""

import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import psutil
from tabulate import tabulate

from bench import client, figures, held, many, replays, report, soak, start, unread
from bench.modes import MODES, Measured, Mode, measure, warm
from bench.servers import HOST, SERVERS, Running, Server, nginx_program, peer, python, wait_for
from local.addresses import free_port

_NAMES = [server.name for server in SERVERS]
_OURS = SERVERS[0]
_PEERS_THAT_HOLD = ("headwater", "naive")


@click.group()
def main() -> None:
    """Measure, on this machine alone and on loopback; every load ends by itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or its servers would stay behind


@main.command()
@click.option(
    "--mode", "modes", multiple=True, type=click.Choice([mode.name for mode in MODES]), help="All by default."
)
@click.option("--server", "servers", multiple=True, type=click.Choice(_NAMES), help="All by default.")
@click.option("--peer", "peers", multiple=True, metavar="NAME=COMMAND", help="Another server; see bench/servers.py.")
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every measurement here.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Write a picture here (.svg or .png).")
def relay(
    modes: Sequence[str],
    servers: Sequence[str],
    peers: Sequence[str],
    rounds: int,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """CPU per event and per request, and the time to the first text."""
    chosen = [server for server in SERVERS if not servers or server.name in servers]
    if nginx_program() is None and any(server.name == "nginx" for server in chosen):
        click.echo("nginx is not installed, so it is left out.", err=True)
        chosen = [server for server in chosen if server.name != "nginx"]
    chosen += [_peer(each) for each in peers]
    measured = run(chosen, [mode for mode in MODES if not modes or mode.name in modes], rounds)
    click.echo("\n" + report.table(measured))
    for complaint in figures.complaints(measured):
        click.echo(f"Too noisy to tell? {complaint}.")
    if json_path is not None:
        report.write_json(measured, json_path)
    if plot_path is not None:
        report.plot(measured, plot_path)


@main.command("held")
@click.option("--streams", default=held.STREAMS, type=click.IntRange(1), show_default=True)
def held_streams(streams: int) -> None:
    """Memory of streams that wait for a silent upstream."""
    _print(held.told([held.measure(server, streams) for server in SERVERS if server.name in _PEERS_THAT_HOLD]))


@main.command("many")
def many_streams() -> None:
    """A thousand streams at once, and what they leave in Postgres."""
    _print(many.told(many.measure(_OURS)))


@main.command("start")
@click.option("--rounds", default=start.ROUNDS, type=click.IntRange(1), show_default=True)
@click.option("--python", "interpreter", default=sys.executable, help="Of an environment of the servers' own.")
def starts(rounds: int, interpreter: str) -> None:
    """From the start of a process to its first answer and first token."""
    _print(start.told(start.measure(rounds, interpreter)))


@main.command("unread")
def unread_streams() -> None:
    """What readers that never read do to the others."""
    _print(unread.told(unread.measure(_OURS)))


@main.command("soak")
@click.option("--minutes", default=15.0, type=click.FloatRange(0.5, 240), show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write every look at the process here.")
def soaked(minutes: float, json_path: Path | None) -> None:
    """What clients that come and go for long leave behind."""
    found = soak.measure(minutes)
    _print(soak.told(found))
    if json_path is not None:
        soak.write_json(found, json_path)


@main.command("replays")
def replayed_streams() -> None:
    """A hundred readers of one long answer that has ended."""
    _print(replays.told(replays.measure(_OURS)))


@main.command("client")
def comparisons_client() -> None:
    """The comparison's client with a thousand streams."""
    _print(client.told(client.measure()))


def _print(rows: Sequence[dict[str, str]]) -> None:
    click.echo(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def _peer(named: str) -> Server:
    name, found, command = named.partition("=")
    if not found:
        raise click.BadParameter("say NAME=COMMAND", param_hint="--peer")
    return peer(name, command)


def run(servers: Sequence[Server], modes: Sequence[Mode], rounds: int) -> list[Measured]:
    """All servers are up all the time; in each round every load goes to one after the other.

    Every other round goes the other way: what slowly changes meanwhile is for no server's good.
    """
    measured: list[Measured] = []
    with ExitStack() as stack:
        port = free_port(HOST)
        upstream = psutil.Process(stack.enter_context(python("bench.upstream", str(port))).pid)
        wait_for(port)
        running: list[tuple[Server, Running]] = []
        for server in servers:
            running.append((server, stack.enter_context(server.start(port))))
            warm(*running[-1])
        for number in range(rounds):
            for mode in modes:
                for server, up in running[:: -1 if number % 2 else 1]:
                    click.echo(f"round {number + 1} of {rounds}: {mode.name}, {server.name}", err=True)
                    measured.append(measure(server, up, mode, number, upstream))
    return measured


if __name__ == "__main__":
    main()
