"""Server-sent events as a client has them."""

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class SentEvent:
    event: str
    id: str | None
    data: Any


def sent_events(body: bytes) -> list[SentEvent]:
    """All events of a stream of JSON that ended cleanly; comments are left out."""
    assert not body or body.endswith(b"\n\n"), "the last event is not whole"
    return [event for block in body.split(b"\n\n") if (event := _event(block)) is not None]


def _event(block: bytes) -> SentEvent | None:
    fields: dict[str, str] = {}
    for line in block.decode().split("\n"):
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            assert name in ("event", "id", "data"), line
            assert name not in fields, block
            fields[name] = value
    if not fields:
        return None
    return SentEvent(fields.get("event", "message"), fields.get("id"), msgspec.json.decode(fields["data"]))


def whole_frames(body: bytes) -> list[bytes]:
    """The frames of a stream that broke anywhere, without what is left of the last one."""
    return [frame + b"\n\n" for frame in body.split(b"\n\n")[:-1]]


def last_event_id(body: bytes) -> int:
    """The position that a reader of these frames asks to read on from."""
    ids = [line.removeprefix(b"id: ") for line in body.split(b"\n") if line.startswith(b"id: ")]
    return int(ids[-1]) if ids else 0
