"""How fast an answer comes."""

from dataclasses import dataclass

from local.upstream.directives import Directives

# Long enough for a client to notice, when the request does not say how long.
SLOW_FIRST_S = 2.0
SLOW = frozenset({"slow-first-byte", "slow-first-event"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Events per second, where 0 is as fast as possible, and seconds before the first event."""

    events_per_second: float = 0
    first_event_s: float = 0

    @property
    def interval_s(self) -> float:
        """Seconds from one event to the next."""
        return 1 / self.events_per_second if self.events_per_second else 0

    def for_request(self, directives: Directives) -> "Pace":
        """Return this pace with what a request asks for in its place."""
        first_s = SLOW_FIRST_S if directives.fault in SLOW else self.first_event_s
        return Pace(
            events_per_second=self.events_per_second if directives.rate is None else directives.rate,
            first_event_s=first_s if directives.first_ms is None else directives.first_ms / 1000,
        )

    def in_one_piece(self, events: int) -> "Pace":
        """Return the pace of a body that is sent when so many events would have been."""
        return Pace(first_event_s=self.first_event_s + events * self.interval_s)
