"""Replay of recorded traffic: one row a request, with `at`, `input_tokens` and `output_tokens`.

`at` is seconds, or a time in RFC 3339; the earliest is the beginning. CSV with these names in its first row, or a JSON
array of objects.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from compare.load.arrivals import Arrival, Turn
from compare.results import Profile

_Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]


class TraceError(ValueError):
    """It cannot be read as a trace."""


class _Row(Struct, frozen=True):
    at: float | datetime
    input_tokens: _Tokens
    output_tokens: _Tokens

    @property
    def seconds(self) -> float:
        return self.at.timestamp() if isinstance(self.at, datetime) else self.at


@dataclass(frozen=True, slots=True)
class Replay:
    """`speed` of 2 takes half the time that was recorded."""

    name: str
    rows: tuple[_Row, ...]
    speed: float

    def arrivals(self, draw: random.Random) -> Sequence[Arrival]:
        return [
            Arrival((row.seconds - self.rows[0].seconds) / self.speed, (Turn(row.input_tokens, row.output_tokens),))
            for row in self.rows
        ]

    def told(self) -> Profile:
        return Profile("replay", {"trace": self.name, "requests": len(self.rows), "speed": self.speed})


def read(path: Path, speed: float = 1.0) -> Replay:
    """
    Raises:
        OSError: there is no such file, or it cannot be read.
        TraceError: what it holds is no trace, or an empty one.
    """
    try:
        rows = msgspec.convert(_rows(path), list[_Row], strict=False)
        rows.sort(key=lambda row: row.seconds)
    except (ValueError, TypeError, csv.Error) as error:
        raise TraceError(f"{path.name} is no trace: {error}") from error
    if not rows:
        raise TraceError(f"{path.name} has no rows.")
    return Replay(path.name, tuple(rows), speed)


def _rows(path: Path) -> Any:
    if path.suffix == ".json":
        return msgspec.json.decode(path.read_bytes())
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
