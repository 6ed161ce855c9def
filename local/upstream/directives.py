"""What a request asks of the simulator itself, as its model or its `metadata.user_id`: `sim-<fault>?key=value&...`."""

from collections import Counter
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from local.upstream.errors import invalid
from local.upstream.schema import Json

PREFIX = "sim-"
NO_FAULT = "ok"

Count = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]


class Directives(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may follow the question mark. What is left out keeps the answer's or the server's own value."""

    spec: str = ""  # all of it, as it came
    fault: str = NO_FAULT
    after: Count | None = None  # whole events before the fault
    rate: Amount | None = None  # events per second; 0 is as fast as possible
    batch: Annotated[int, Meta(ge=1)] = 1  # events in one network write
    first_ms: Amount | None = None  # milliseconds before the first event
    tokens: Count | None = None  # the text's length in deltas; `max_tokens` still holds
    retry_after: Amount = 1  # seconds, the header of 429 and 529
    times: Count | None = None  # the fault is over after so many requests
    key: str | None = None  # whose requests `times` counts; without it, those with this very spec
    redacted: bool = False  # a redacted_thinking block comes first
    unknown_event: bool = False  # an event of a type nobody knows yet
    unknown_block: bool = False  # a content block of a type nobody knows yet
    stop_reason: str | None = None  # in place of the answer's own, for example refusal
    searches: Count = 0  # web searches that the usage tells of
    service_tier: str = "standard"  # that the usage tells of


def find(model: str, metadata: Json | None) -> Directives:
    """Return what the request asks for; the model's name goes before the metadata."""
    user_id = (metadata or {}).get("user_id")
    for spec in (model, user_id):
        if isinstance(spec, str) and spec.startswith(PREFIX):
            return parse(spec)
    return Directives()


def parse(spec: str) -> Directives:
    """Read one `sim-<fault>?<directives>`."""
    fault, _, query = spec.removeprefix(PREFIX).partition("?")
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        return msgspec.convert({**fields, "fault": fault, "spec": spec}, Directives, strict=False)
    except ValueError as error:
        raise invalid(f"{spec}: {error}") from error


class Allowance:
    """Counts how often a fault with `times` has happened, so that a retry can succeed."""

    def __init__(self) -> None:
        self._spent: Counter[str] = Counter()

    def spend(self, directives: Directives) -> Directives:
        """Return the directives, without their fault when it has happened often enough."""
        if directives.times is None:
            return directives
        key = directives.key or directives.spec
        self._spent[key] += 1
        spent = self._spent[key] > directives.times
        return msgspec.structs.replace(directives, fault=NO_FAULT) if spent else directives

    def clear(self) -> None:
        """Begin to count anew."""
        self._spent.clear()
