"""What was seen of one target."""

from collections import Counter

from compare.load.address import Address
from compare.load.asking import Outcome
from compare.load.connection import CUT, WHOLE
from compare.measures.quantiles import distribution
from compare.measures.samples import Samples
from compare.results import MEASURES, Counts, Distribution, Measure, Starts, Target, Traffic, Usage


class Record:
    """Grows with each stream that ends. `zero` is when the run began, by the monotonic clock; what was due less than
    `warmup` seconds later is not recorded.
    """

    def __init__(self, address: Address, zero: float, warmup: float) -> None:
        self.address = address
        self.done = 0
        self._zero = zero
        self._warmup = warmup
        self._samples: dict[Measure, Samples] = {measure: Samples() for measure in MEASURES}
        self._outcomes: Counter[str] = Counter()
        self._resumed = 0
        self._starts: Counter[str] = Counter()
        self._homes: Counter[str] = Counter()
        self._instances: set[str] = set()
        self._open = 0
        self._open_most = 0
        self._open_seconds = 0.0
        self._whole_seconds = 0.0
        self._whole_bytes = 0
        self._whole_tokens = 0

    @property
    def failed(self) -> int:
        return sum(self._outcomes.values()) - self._outcomes[WHOLE]

    @property
    def open(self) -> int:
        return self._open

    def begin(self) -> None:
        self._open += 1
        self._open_most = max(self._open_most, self._open)

    def leave(self) -> None:
        self._open -= 1

    def gap(self, due: float, seconds: float) -> None:
        """In a stream that was due then: gaps of one stream resemble each other, so they are kept under one moment."""
        if due - self._zero >= self._warmup:
            self._add("gap", due, seconds * 1000)

    def end(self, outcome: Outcome) -> None:
        self.done += 1
        if outcome.due - self._zero < self._warmup:
            return
        self._outcomes[outcome.how] += 1
        self._resumed += outcome.resumed
        self._open_seconds += outcome.over - outcome.sent
        self._tell(outcome)
        self._first_token(outcome)
        if outcome.how == WHOLE:
            self._whole(outcome)

    def _add(self, measure: Measure, at: float, value: float) -> None:
        self._samples[measure].add(at - self._zero, value)

    def _tell(self, outcome: Outcome) -> None:
        answer = outcome.answer
        for counted, name in ((self._starts, answer.start), (self._homes, answer.home)):
            if name is not None:
                counted[name] += 1
        if answer.instance is not None:
            self._instances.add(answer.instance)

    def _first_token(self, outcome: Outcome) -> None:
        answer, due = outcome.answer, outcome.due
        if answer.first_token is None:
            return
        ttft = (answer.first_token - due) * 1000
        self._add("ttft", due, ttft)
        if answer.start == "cold":
            self._add("ttft_cold", due, ttft)
        elif answer.start == "restored":
            self._add("ttft_restored", due, ttft)
        if answer.headers_at is not None and answer.upstream_ms is not None:
            self._add("added_ttft", due, (answer.headers_at - outcome.sent) * 1000 - answer.upstream_ms)

    def _whole(self, outcome: Outcome) -> None:
        answer = outcome.answer
        tokens = answer.output_tokens if answer.output_tokens is not None else answer.tokens
        self._add("completion", outcome.due, (outcome.over - outcome.due) * 1000)
        if answer.first_token is not None and answer.last_token is not None and answer.last_token > answer.first_token:
            self._add("tokens_per_second", outcome.due, (tokens - 1) / (answer.last_token - answer.first_token))
        self._whole_seconds += outcome.over - outcome.sent
        self._whole_bytes += answer.bytes
        self._whole_tokens += tokens

    def target(self, seconds: float, usage: Usage | None, note: str | None) -> Target:
        """Of requests that were due within so many seconds after the warm-up."""
        home = self._homes.most_common(1)
        return Target(
            name=self.address.name,
            url=self.address.url,
            home=home[0][0] if home else None,
            instances=len(self._instances),
            counts=self._counts(),
            measures=self._measures(),
            starts=Starts(self._starts.total(), self._starts["cold"], self._starts["restored"]),
            traffic=self._traffic(seconds),
            usage=usage,
            note=note,
        )

    def _counts(self) -> Counts:
        good = {WHOLE, CUT}
        return Counts(
            requests=self._outcomes.total(),
            whole=self._outcomes[WHOLE],
            truncated=self._outcomes[CUT],
            resumed=self._resumed,
            errors={kind: number for kind, number in sorted(self._outcomes.items()) if kind not in good},
        )

    def _measures(self) -> dict[Measure, Distribution]:
        found = {measure: distribution(samples) for measure, samples in self._samples.items()}
        return {measure: each for measure, each in found.items() if each is not None}

    def _traffic(self, seconds: float) -> Traffic:
        whole = max(self._outcomes[WHOLE], 1)
        return Traffic(
            requests_per_hour=self._outcomes.total() / seconds * 3600,
            stream_seconds=self._whole_seconds / whole,
            bytes=self._whole_bytes / whole,
            output_tokens=self._whole_tokens / whole,
            held=self._open_seconds / seconds,
            held_most=self._open_most,
        )
