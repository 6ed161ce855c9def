"""What a run found, as it is kept: JSON, with the number of its form. The load writes it; cost and report read it.

Durations are milliseconds unless a name says otherwise, moments are UTC.
"""

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

FORMAT: Final = 1

Measure = Literal["ttft", "added_ttft", "gap", "completion", "tokens_per_second", "ttft_cold", "ttft_restored"]
# In the order of a report. All are milliseconds but tokens_per_second, of which more is better.
MEASURES: Final[dict[Measure, str]] = {
    "ttft": "Time to first token, from the moment at which the request was due",
    "added_ttft": "Time to first token beyond what the upstream took",
    "gap": "Time between one read with tokens and the next, within a stream",
    "completion": "Time to the end of the stream, from the moment at which the request was due",
    "tokens_per_second": "Tokens a second, from the first to the last",
    "ttft_cold": "Time to first token of requests that had an instance started",
    "ttft_restored": "Time to first token of requests that had an instance restored from a snapshot",
}
HIGHER_IS_BETTER: Final[frozenset[Measure]] = frozenset({"tokens_per_second"})


class ResultsError(ValueError):
    """The file is none of ours, or of another form."""


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % interval. An end is None where the sample is too small to tell it."""

    value: float
    low: float | None
    high: float | None


class Histogram(msgspec.Struct, frozen=True):
    """How many values lie in which bucket: bucket i reaches from `ratio ** i` to `ratio ** (i + 1)`.

    Sparse, in the order of the buckets. Values below 0.001 count as 0.001.
    """

    ratio: float
    buckets: list[tuple[int, int]]


class Distribution(msgspec.Struct, frozen=True):
    """Of `n` values. Those of one stream, or of streams at the same time, resemble each other: `effective_n` is how
    many independent ones tell as much; the intervals are as wide as those of so many.
    """

    n: int
    effective_n: float
    mean: float
    p50: Estimate
    p90: Estimate
    p99: Estimate
    p999: Estimate
    histogram: Histogram


class Counts(msgspec.Struct, frozen=True):
    """Of the requests after the warm-up: each is whole, truncated or an error, and resumed ones are one of these too.

    `truncated` began to answer and had no end; `resumed` were cut and read on; `errors` never ended well, by kind: a
    status (`http_503`), an error event in the stream (`event_overloaded_error`), `connect`, `timeout`, `tls`,
    `protocol`.
    """

    requests: int
    whole: int
    truncated: int
    resumed: int
    errors: dict[str, int]

    @property
    def failed(self) -> int:
        return self.truncated + sum(self.errors.values())


class Starts(msgspec.Struct, frozen=True):
    """What the service's own headers say of how the process came to be that answered; `told` is how many said so."""

    told: int
    cold: int
    restored: int


class Traffic(msgspec.Struct, frozen=True):
    """What cost is worked out from. Means are over whole streams."""

    requests_per_hour: float
    stream_seconds: float
    bytes: float
    output_tokens: float
    # Streams at once: the mean over the run's time, and the most.
    held: float
    held_most: int


class Usage(msgspec.Struct, frozen=True):
    """Of the target's processes, where they are on this machine: cores on the average, from the end of the warm-up to
    the last request, and bytes resident at the most.
    """

    cores: float
    memory: int


class Target(msgspec.Struct, frozen=True):
    """`home` is what the service says that it is, None where it says nothing; `instances` how many it named; `note`
    is what whoever measured says of it.
    """

    name: str
    url: str
    home: str | None
    instances: int
    counts: Counts
    measures: dict[Measure, Distribution]
    starts: Starts
    traffic: Traffic
    usage: Usage | None = None
    note: str | None = None


class Profile(msgspec.Struct, frozen=True):
    """The shape of the load: its name and every number that makes it."""

    name: str
    parameters: dict[str, float | str]


class Limits(msgspec.Struct, frozen=True):
    """Where the run would have ended by itself, and which of these ended it: None where the load was over before."""

    seconds: float
    requests: int
    dollars: float | None
    spent: float | None
    stopped_by: Literal["seconds", "requests", "dollars", "interrupt"] | None


class Client(msgspec.Struct, frozen=True):
    """What the load itself took: its share of one core, and how late its loop woke up at the p99."""

    cpu_share: float
    lag: float


class Machine(msgspec.Struct, frozen=True):
    """Where the load came from."""

    system: str
    cores: int
    python: str


class Results(msgspec.Struct, frozen=True):
    """`warmup` is how many seconds at the start are in no figure; `warnings` are sentences for the reader."""

    began: datetime
    ended: datetime
    machine: Machine
    profile: Profile
    seed: int
    limits: Limits
    warmup: float
    client: Client
    targets: list[Target]
    warnings: list[str]
    format: int = FORMAT


def write(results: Results, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def read(path: Path) -> Results:
    """Of a run, also out of the JSON that lies beside its report.

    Raises:
        OSError: it cannot be read.
        ResultsError: it is none of ours, or of another form.
    """
    raw = path.read_bytes()
    try:
        raw = bytes(msgspec.json.decode(raw, type=_Report).results) or raw
        form = msgspec.json.decode(raw, type=_Form).format
        if form != FORMAT:
            raise ResultsError(f"{path} has form {form}, and this version reads {FORMAT}.")
        return msgspec.json.decode(raw, type=Results)
    except msgspec.DecodeError as error:
        raise ResultsError(f"{path} holds no results: {error}") from error


class _Form(msgspec.Struct):
    format: int


class _Report(msgspec.Struct):
    results: msgspec.Raw = msgspec.Raw()
