"""Numbered frames of OpenAI's Responses API."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Frames:
    """Frames count from 0; those up to `starting_after` are counted and left out."""

    def __init__(self, starting_after: int) -> None:
        self._starting_after = starting_after
        self._next = 0
        self._frames: list[bytes] = []

    def add(self, kind: bytes, fields: Mapping[str, Any]) -> None:
        number, self._next = self._next, self._next + 1
        if number > self._starting_after:
            json = msgspec.json.encode(fields)[1:-1]
            frame = b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (kind, kind, number, json)
            self._frames.append(frame)

    def only(self, form: bytes, seq: int, json: bytes) -> bytes:
        """The one frame of an event, made at once: `form` takes the position, the number and a value."""
        number, self._next = self._next, self._next + 1
        return form % (seq, number, json) if number > self._starting_after else b""

    def pass_over_lost(self) -> None:
        """Go on behind what the reader has, although it is more than there is."""
        self._next = max(self._next, self._starting_after + 1)

    def take(self, seq: int | None) -> bytes:
        """What was added since; the last of them carries the position `seq`."""
        frames, self._frames = self._frames, []
        if frames and seq is not None:
            frames[-1] = b"id: %d\n%b" % (seq, frames[-1])
        return b"".join(frames)
