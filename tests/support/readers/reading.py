"""What a client makes of a stream, in any dialect: one form for all, so that readings can be compared and gone on with.

Written from the dialects' references; nothing here comes from what writes the streams.
"""

import json
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

Json = dict[str, Any]
CALLS: Final = ("call", "server_call")


@dataclass
class Part:
    """A run of text or thinking, or a call with its input as it was written; `kind` says which."""

    kind: str
    text: str = ""
    id: str = ""
    name: str = ""


@dataclass
class Reading:
    """`usage` has the dialect's own counts, `reason` its own word; `end` is `done` or the code of an error."""

    parts: list[Part] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    usage: Json = field(default_factory=dict)
    reason: str | None = None
    refusal: str = ""
    end: str | None = None
    whole: Json | None = None  # what the last frame says that all of it was

    def say(self, kind: str, text: str) -> None:
        if not self.parts or self.parts[-1].kind != kind:
            self.parts.append(Part(kind))
        self.parts[-1].text += text

    def call(self, id: str, name: str, given: Any = None, *, server: bool = False) -> None:
        self.parts.append(Part("server_call" if server else "call", json.dumps(given) if given else "", id, name))

    def add_input(self, piece: str) -> None:
        """Blocks do not overlap: it is the last call's."""
        self._last_call().text += piece

    def whole_input(self, id: str, input: Any) -> None:
        """Told in one piece, perhaps once more."""
        call = self._last_call()
        assert call.id == id
        call.text = call.text or json.dumps(input)

    def _last_call(self) -> Part:
        return next(part for part in reversed(self.parts) if part.kind in CALLS)

    def said(self, *, server_calls: bool) -> list[tuple[str, Any]]:
        """Text, thoughts and calls in their order, with or without those of the upstream's own tools."""
        known = ("text", "thinking", *(CALLS if server_calls else ("call",)))
        kept = [part for part in self.parts if part.kind in known and (part.text or part.kind in CALLS)]
        return [_run(kind, list(run)) for (kind, _), run in groupby(kept, key=lambda part: (part.kind, part.id))]

    def calls(self, kind: str = "call") -> list[Part]:
        return [part for part in self.parts if part.kind == kind]


def _run(kind: str, parts: list[Part]) -> tuple[str, Any]:
    text = "".join(part.text for part in parts)
    return (kind, (parts[0].id, parts[0].name, _input_of(text)) if kind in CALLS else text)


def _input_of(written: str) -> Any:
    """The value; where it was cut off, what there is of it."""
    try:
        return json.loads(written or "{}")
    except json.JSONDecodeError:
        return written
