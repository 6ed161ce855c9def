"""What is noted of a completion while it runs, for the one line that tells how it went."""

import time
from decimal import Decimal

import msgspec

from app.domain.completion import Status
from app.domain.errors import AppError
from app.observability import Ended, Metric, arrived_at, completion_ended, meter
from app.streaming.log import Log
from app.streaming.settlement import Settlement


class _Bill(msgspec.Struct, frozen=True):
    """Of the ledger's columns (`billing.bill`), those that are told. All kinds of input count alike here."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    estimated: bool = False
    cost: Decimal | None = None

    @property
    def all_input(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


class Course:
    """Times are those of the monotonic clock; the request's arrival is the context's that this is made in."""

    def __init__(self) -> None:
        self._arrived = arrived_at() or time.monotonic()
        self._asked: float | None = None
        self.first_event: float | None = None
        self.readers = 0
        self.settlement: Settlement | None = None

    def ask(self) -> None:
        """The upstream is asked, for the first time or again."""
        if self._asked is None:
            self._asked = time.monotonic()

    @property
    def upstream_ms(self) -> float | None:
        """From asking the upstream to its first event, which comes after retries too; None until then."""
        if self._asked is None or self.first_event is None:
            return None
        return round((self.first_event - self._asked) * 1000, 1)

    def report(self, model: str, error: AppError | None, log: Log) -> None:
        """Once it is settled."""
        assert self.settlement is not None
        events = log.after(0)
        ended = told(self.settlement, model, error.code if error is not None else None)
        first, now = self.first_event, time.monotonic()
        completion_ended(
            msgspec.structs.replace(
                ended,
                ttft_ms=self._since_arrival(first),
                added_ttft_ms=self._since_arrival(self._asked) if first is not None else None,
                duration_ms=self._since_arrival(now),
                tokens_per_second=round(ended.output_tokens / (now - first), 1) if first is not None else None,
                events=len(events),
                bytes=sum([len(event.data) for event in events]),
                readers=self.readers,
                resumes=max(self.readers - 1, 0),
            )
        )

    def _since_arrival(self, moment: float | None) -> float | None:
        """In milliseconds."""
        return round((moment - self._arrived) * 1000, 1) if moment is not None else None


def told(settlement: Settlement, model: str, error: str | None) -> Ended:
    """What the final state alone says; also counts an interruption."""
    if settlement.status is Status.INTERRUPTED:
        meter.count(Metric.INTERRUPTIONS)
    bill = msgspec.json.decode(settlement.bill, type=_Bill)
    return Ended(
        completion_id=str(settlement.id),
        model=model,
        status=settlement.status,
        error=error,
        stop_reason=settlement.stop_reason,
        input_tokens=bill.all_input,
        output_tokens=bill.output_tokens,
        cost=float(bill.cost) if bill.cost is not None else None,
        estimated=bill.estimated,
        attempts=settlement.attempts,
    )
