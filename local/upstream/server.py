"""The server: started on a port, stopped at once."""

from types import TracebackType
from typing import Self

from aiohttp import web

from local.upstream.endpoints import routes
from local.upstream.middleware import add_request_id, check_key, record, tell_errors
from local.upstream.pace import Pace
from local.upstream.recorder import KEPT_REQUESTS, RecordedRequest, Recorder
from local.upstream.state import STATE, State

# The API's own limit.
MAX_BODY_BYTES = 32 * 1024 * 1024
# Many streams may start at one moment.
BACKLOG = 2048
# Handlers of streams do not end by themselves, so nothing is gained by waiting; 0 would mean for ever.
SHUTDOWN_S = 0.01


class SimulatedUpstream:
    """A simulated upstream for the time of an `async with`.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        events_per_second: pace of a stream; 0 is as fast as possible.
        first_event_ms: milliseconds before the first event.
        api_key: the only key accepted; None accepts all.
        keep_requests: how many recorded requests are kept.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        events_per_second: float = 0,
        first_event_ms: float = 0,
        api_key: str | None = None,
        keep_requests: int = KEPT_REQUESTS,
    ) -> None:
        pace = Pace(events_per_second=events_per_second, first_event_s=first_event_ms / 1000)
        self._state = State(pace=pace, api_key=api_key, recorder=Recorder(keep_requests))
        self._host = host
        self._port = port
        # Cancelling the handler is how it learns that its client has left while nothing is being sent.
        self._runner = web.AppRunner(
            _app(self._state), handler_cancellation=True, shutdown_timeout=SHUTDOWN_S, access_log=None
        )

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{self._host}:{self._runner.addresses[0][1]}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The recorded requests, oldest first."""
        return list(self._state.recorder.requests)

    def forget(self) -> None:
        """Forget the recorded requests, and how often faults with `times` have happened."""
        self._state.forget()

    async def idle(self) -> None:
        """Return when no request is being answered, so that all records are final."""
        await self._state.recorder.idle()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=BACKLOG).start()
        except OSError:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._state.stopping = True
        await self._runner.cleanup()


def _app(state: State) -> web.Application:
    app = web.Application(middlewares=[tell_errors, record, check_key], client_max_size=MAX_BODY_BYTES)
    app[STATE] = state
    app.add_routes(routes)
    app.on_response_prepare.append(add_request_id)
    return app
