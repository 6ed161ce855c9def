"""Texts that break careless framing, and the many ways in which one value can be written as JSON."""

import json
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

_FRAGMENTS: Final = (
    *(
        "data: x",
        "\n\n",
        "\r",
        "\r\n",
        "\ndata: [DONE]\n\n",
        "event: error",
        "\rid: 7",
        "[DONE]",
        ": keepalive",
        "\ufeff",
    ),
    *("\u2028", "\u2029", "\u0085", "\v\f", "\0", "\x7f", "🙂", "e\u0301", "👩‍👩‍👧", "Größe"),
    *('"', "\\", "\\u0041", "\\ud83d", "\\n", '{"text": "', "}", "%d %b", " "),
)


class Prose(str):
    """A string of the model's, which may be written with any escapes; names and ids are always written plainly."""

    __slots__ = ()


# Strategies are made once: making one costs more than drawing from it.
PROSE: Final = st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=3), max_size=3).map(
    lambda some: Prose("".join(some))
)
PROSES: Final = st.lists(PROSE, max_size=4)


class Pen:
    """Writes JSON on one line; each number has its own way to do it, and 0 the plainest."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._plain = seed == 0

    def write(self, value: Any) -> str:
        match value:
            case Prose():
                return self._prose(value)
            case dict():
                items = [(json.dumps(key), self.write(entry)) for key, entry in value.items()]
                if not self._plain:
                    self._random.shuffle(items)
                return self._bracketed("{}", [f"{key}{self._space()}:{self._space()}{entry}" for key, entry in items])
            case list():
                return self._bracketed("[]", [self.write(entry) for entry in value])
        return json.dumps(value)

    def _bracketed(self, brackets: str, entries: list[str]) -> str:
        inner = f"{self._space()},{self._space()}".join(entries)
        return f"{brackets[0]}{self._space()}{inner}{self._space()}{brackets[1]}"

    def _space(self) -> str:
        return "" if self._plain else self._random.choice(("", "", " ", "\t "))

    def _prose(self, text: str) -> str:
        way = 0 if self._plain else self._random.randrange(3)
        if way < 2:
            return json.dumps(text, ensure_ascii=way == 1)
        return '"' + "".join(self._character(character) for character in text) + '"'

    def _character(self, character: str) -> str:
        if self._random.random() < 0.5:
            return json.dumps(character, ensure_ascii=False)[1:-1]
        units = character.encode("utf-16-be").hex()
        digits = units.upper() if self._random.random() < 0.5 else units
        return "".join(f"\\u{digits[place : place + 4]}" for place in range(0, len(digits), 4))


PENS: Final = st.integers(0, 2**16).map(Pen)
