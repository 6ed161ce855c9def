"""One completion being produced: the task that moves events from the upstream into the log, and ends it.

The task belongs to the process, not to a request: readers come and go. Whatever happens, the log ends with one
terminal event, and readers get that only once the completion's final state is committed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import repeat
from typing import Any, Final
from uuid import UUID

import msgspec

from app.config import Settings
from app.domain.completion import OnDisconnect, Status
from app.domain.errors import AppError, UpstreamError, UpstreamTimeout
from app.domain.events import Error, Event, MessageStop, name, read
from app.domain.message import MessageFold
from app.observability import Metric, annotate_with_keys, bind, meter, traced, tracing
from app.prices import Prices
from app.providers.base import Provider, ProviderRequest
from app.streaming.billing import Account, bill, counted
from app.streaming.course import Course
from app.streaming.head_start import HeadStart
from app.streaming.log import Log
from app.streaming.recorder import LeaseLost, Recorder, StorageUnavailable
from app.streaming.settlement import MESSAGE_STOP, Settlement, error_end, settlement
from app.streaming.upstream import Open, Opened, malformed, open_upstream, stream_error
from app.streaming.watchdog import Watchdog

_log = logging.getLogger(__name__)


class Cancelled(AppError):
    status = 409
    code = "cancelled"
    should_retry = False  # SDKs would take a 409 for a reason to ask once more


class Interrupted(AppError):
    status = 503
    code = "interrupted"


class LimitReached(AppError):
    """One of the server's own caps on a stream."""

    status = 504
    code = "stream_limit"
    type = "timeout_error"


_STATUSES: Final[dict[type[AppError], Status]] = {
    Cancelled: Status.CANCELLED,
    Interrupted: Status.INTERRUPTED,
    LeaseLost: Status.INTERRUPTED,
}


class Admitted(msgspec.Struct, frozen=True):
    """A completion that is in the store and has to be produced, by the time `ends_by` (in seconds since 1970)."""

    id: UUID
    request: ProviderRequest
    on_disconnect: OnDisconnect
    request_id: str
    account: Account
    ends_by: float | None = None
    # Of the request that was admitted: what its log lines have on them, and where it is in its trace.
    log_keys: dict[str, Any] = {}
    traceparent: str | None = None


class Generation:
    """Run by `run` in a task of its own; `stop` ends it early."""

    def __init__(
        self,
        admitted: Admitted,
        provider: Callable[[], Awaitable[Provider]],
        recorder: Recorder,
        prices: Prices,
        settings: Settings,
        head_start: HeadStart | None = None,
    ) -> None:
        self.id = admitted.id
        self.log = Log()
        self.fold = MessageFold()
        self.error: AppError | None = None
        self.settled = False
        self._admitted = admitted
        self._provider = provider
        self._recorder = recorder
        self._prices = prices
        self._settings = settings
        self._head_start = head_start
        self._attempts = 0
        self._course = Course()
        self._started_at = time.monotonic()
        self._pumping: asyncio.Task[None] | None = None
        self._stopped_by: AppError | None = None
        self._readers = 0
        self._elsewhere_until = 0.0

    # -- what the outside asks of it

    async def started(self, timeout: float) -> None:
        """Return at the first event, or after `timeout` seconds without one.

        Raises:
            AppError: it failed before its first event.
        """
        if not self.log.last_seq:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.log.changed()
        if self.error is not None and self._course.first_event is None:
            raise self.error

    @property
    def upstream_ms(self) -> float | None:
        """What the upstream took until its first event; None until then."""
        return self._course.upstream_ms

    def stop(self, reason: AppError) -> None:
        """End with `reason` as the error, unless it is ending already."""
        if self._stopped_by is None:
            self._stopped_by = reason
            if self._pumping is not None:
                self._pumping.cancel()

    @contextmanager
    def reading(self) -> Iterator[Log]:
        """A reader is there."""
        self._readers += 1
        self._course.readers += 1
        try:
            yield self.log
        finally:
            self._readers -= 1
            if not self._readers and self._admitted.on_disconnect is OnDisconnect.CANCEL and not self.log.ended:
                asyncio.get_running_loop().call_later(self._settings.disconnect_grace, self._cancel_if_unread)

    def read_elsewhere(self) -> None:
        """A reader on another instance was there just now."""
        self._elsewhere_until = time.monotonic() + self._settings.disconnect_grace

    def _cancel_if_unread(self) -> None:
        if self._readers or self.log.ended:
            return
        if (left := self._elsewhere_until - time.monotonic()) > 0:
            asyncio.get_running_loop().call_later(left, self._cancel_if_unread)
        else:
            self.stop(Cancelled("Nobody was reading any more."))

    # -- the task

    async def run(self) -> None:
        with tracing("completion", parent=self._admitted.traceparent):
            bind(**self._admitted.log_keys)
            annotate_with_keys()
            end = await self._run()
            if self.settled:  # before readers have the end: behind it, a home may freeze this process
                self._report()
        self.log.append([end], end=True)

    def _report(self) -> None:
        """Whatever goes wrong with telling of it, readers get their end."""
        try:
            self._course.report(self._admitted.account.model, self.error, self.log)
        except Exception:
            _log.exception("the end of %s could not be told", self.id)

    async def _run(self) -> Event:
        self._recorder.attach(self.id, self.log, self.stop)
        try:
            end = await self._commit(await self._produce())
        except Exception as exc:
            end = self._fail(exc)  # not settled: the control tick ends what the store holds
        finally:
            self._recorder.detach(self.id)
            if self._head_start is not None:
                await self._head_start.close()
        return end

    async def _produce(self) -> Event:
        """Fill the log; answers the terminal event, which is not in it yet."""
        self._pumping = asyncio.create_task(self._pump())
        if self._stopped_by is not None:
            self._pumping.cancel()
        try:
            await asyncio.wait([self._pumping])
        finally:
            self._pumping.cancel()
        pumped, self._pumping = self._pumping, None  # it refers to this generation through its frames
        if self._stopped_by is not None:
            return self._fail(self._stopped_by)
        if error := pumped.exception():
            return self._fail(error)
        return Event(self.log.last_seq + 1, "message_stop", MESSAGE_STOP)

    @traced("settle")
    async def _commit(self, end: Event) -> Event:
        """Write the final state; answers the terminal event, another one where that state cannot be written."""
        for bare in (False, True):
            if isinstance(self.error, (LeaseLost, StorageUnavailable)):
                break
            try:
                self._course.settlement = self._settlement(end, bare=bare)
                await self._recorder.settle(self._course.settlement)
            except AppError as exc:
                end = self._fail(exc)
            else:
                self.settled = True
                break
        return end

    @traced("upstream")
    async def _pump(self) -> None:
        """From the upstream's reads into the log, until the message has stopped."""
        provider = await self._provider()  # the first one waits for the SDK's import, which is no part of its stream
        longest, at_its_end = self._limit()
        try:
            async with asyncio.timeout(longest):
                opened = await open_upstream(self._tries(provider), self._settings, self._attempted)
                self._head_start = None  # its stream is ours now, or it had none
                whole = False
                try:
                    whole = await self._read(opened)
                finally:
                    await opened.stream.aclose(at_end=whole)
        except TimeoutError:
            raise at_its_end from None
        if not whole and self.fold.stop_reason is None:
            raise UpstreamError("The upstream ended the stream too early.", code="upstream_truncated")

    def _limit(self) -> tuple[float, LimitReached]:
        """How many seconds the stream may take, and what it ends with after them."""
        longest = self._settings.total_timeout
        if (ends_by := self._admitted.ends_by) is not None and (left := ends_by - time.time()) < longest:
            return left, LimitReached("The time of the function that produced this answer is over.", code="deadline")
        return longest, LimitReached(f"The stream was longer than {longest:g} s.")

    def _tries(self, provider: Provider) -> Iterator[Open]:
        """Ways to the upstream: the one that was made ready during the admission, if any, then new ones."""
        if self._head_start is not None:
            yield self._head_start.opened
        yield from repeat(partial(provider.open, self._admitted.request))

    async def _read(self, opened: Opened) -> bool:
        """Take every read; False if the body ended before the message had stopped."""
        with Watchdog(self._settings.idle_timeout, lambda: self.log.last_seq, self._silent):
            return self._take_first(opened.first) or await opened.stream.pour(self._take)

    def _take_first(self, datas: Sequence[bytes]) -> bool:
        try:
            return self._take(datas)
        finally:
            if self.log.last_seq:
                self._course.first_event = time.monotonic()
                self._recorder.begun()

    def _silent(self) -> None:
        self.stop(UpstreamTimeout("The upstream was silent for too long."))

    def _attempted(self) -> None:
        self._attempts += 1
        self._course.ask()

    def _take(self, datas: Sequence[bytes]) -> bool:
        """Append one read's events to the log; True once the message has stopped."""
        events: list[Event] = []
        seq = self.log.last_seq
        try:
            for data in datas:
                event, body = read(data)
                if isinstance(body, MessageStop):
                    return True
                if isinstance(body, Error):
                    raise stream_error(body)
                self.fold.apply(body)
                seq += 1
                events.append(Event(seq, name(body), event))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
            raise malformed() from None
        finally:
            if events:
                self.log.append(events)
        if seq > self._settings.max_events:
            raise LimitReached(f"The stream had more than {self._settings.max_events} events.")
        return False

    # -- the end

    def _fail(self, exc: BaseException) -> Event:
        """Remember why it ends; answers the event that says so."""
        if not isinstance(exc, AppError):
            _log.error("generation failed", exc_info=exc)
            exc = AppError("Something went wrong on our side.")
        if isinstance(exc, UpstreamError):
            meter.count(Metric.UPSTREAM_ERRORS, exc.code)
        for known in (exc, exc.__cause__, exc.__context__):
            if known is not None:
                known.with_traceback(None)  # its frames would keep this generation and its log alive
        self.error = exc
        return error_end(self.log.last_seq + 1, exc, self._admitted.request_id)

    def _bill(self) -> str:
        account = self._admitted.account
        return bill(self._prices, account, counted(self.fold, account, attempts=self._attempts, error=self.error))

    def _settlement(self, end: Event, *, bare: bool) -> Settlement:
        """`bare` leaves out what came from the upstream: Postgres has refused it."""
        first = self._course.first_event
        return settlement(
            self.id,
            Status.COMPLETED if self.error is None else _STATUSES.get(type(self.error), Status.FAILED),
            [] if bare else self.log.after(0),
            end,
            MessageFold() if bare else self.fold,
            self._bill(),
            attempts=self._attempts,
            first_event_ms=(first - self._started_at) * 1000 if first is not None else None,
            forget_input=first is None,
        )
