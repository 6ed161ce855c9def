"""`python -m local.upstream`: the simulated upstream as a process of its own."""

import asyncio
import errno
import signal

import click

from local.upstream.server import SimulatedUpstream


@click.command(context_settings={"auto_envvar_prefix": "HEADWATER_SIM", "show_default": True})
@click.option("--host", default="127.0.0.1", show_envvar=True, help="Address to listen on.")
@click.option("--port", default=8100, type=click.IntRange(0, 65535), show_envvar=True, help="0 takes a free one.")
@click.option(
    "--events-per-second", default=25.0, type=click.FloatRange(0), show_envvar=True, help="0 is as fast as possible."
)
@click.option(
    "--first-event-ms", default=300.0, type=click.FloatRange(0), show_envvar=True, help="Wait before the first event."
)
@click.option("--api-key", show_envvar=True, help="The only key accepted; without it all are.")
@click.option(
    "--keep-requests", default=10_000, type=click.IntRange(0), show_envvar=True, help="Recorded requests kept."
)
def main(
    host: str, port: int, events_per_second: float, first_event_ms: float, api_key: str | None, keep_requests: int
) -> None:
    """Serve Anthropic's Messages API with made-up answers, until SIGTERM or Ctrl-C."""
    upstream = SimulatedUpstream(
        host=host,
        port=port,
        events_per_second=events_per_second,
        first_event_ms=first_event_ms,
        api_key=api_key,
        keep_requests=keep_requests,
    )
    try:
        asyncio.run(_serve(upstream))
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else str(error)
        raise click.ClickException(f"Cannot listen on {host}:{port}: {reason}.") from error


async def _serve(upstream: SimulatedUpstream) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with upstream:
        click.echo(f"Simulated upstream on {upstream.url}")
        await stop.wait()


if __name__ == "__main__":
    main()
