"""Content blocks as random events, each with what it tells a reader."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from hypothesis import strategies as st

from tests.properties.spelling import PENS, PROSE, PROSES, Pen, Prose

Json = dict[str, Any]

FUTURE_DELTA: Final = {"type": "sparkle_delta", "sparkle": ["\n", None]}


@dataclass(frozen=True)
class Told:
    """What one event adds to an answer. `kind` is text, thinking, call, server_call, input, signature or redacted."""

    kind: str
    value: str
    id: str = ""


@dataclass(frozen=True)
class Step:
    """An event before it is written, and what it tells."""

    event: Json
    told: list[Told] = field(default_factory=list)


Steps = list[Step]


def _start(block: Json, *told: Told) -> Step:
    return Step(
        {"type": "content_block_start", "index": 0, "content_block": block}, [part for part in told if part.value]
    )


def _delta(delta: Json, *told: Told) -> Step:
    return Step({"type": "content_block_delta", "index": 0, "delta": delta}, list(told))


def _stop() -> Step:
    return Step({"type": "content_block_stop", "index": 0})


_BOOLEANS: Final = st.booleans()
_GIVEN: Final = st.just(Prose("")) | PROSE
_OPAQUE: Final = st.text("abAB01+/=", min_size=1, max_size=12)
_NAMES: Final = st.sampled_from(["web_search", "get-weather", "f"])
_SHARES: Final = st.floats(0, 1)
_PLACES: Final = st.lists(_SHARES, max_size=4)

_CITED: Final = st.sampled_from(
    [
        {"type": "web_search_result_location", "url": "https://example.com/a?b=c", "encrypted_index": "x"},
        {"type": "page_location", "document_index": 1, "start_page_number": 1, "end_page_number": 2},
    ]
)
_CITATIONS: Final = st.builds(
    lambda cited, title, text: {**cited, "title": title, "document_title": title, "cited_text": text},
    _CITED,
    st.none() | PROSE,
    PROSE,
)
_TEXT_DELTAS: Final = PROSE.map(lambda text: _delta({"type": "text_delta", "text": text}, Told("text", text)))
_DELTAS: Final = st.lists(
    st.one_of(
        _TEXT_DELTAS,
        _TEXT_DELTAS,
        _CITATIONS.map(lambda citation: _delta({"type": "citations_delta", "citation": citation})),
        st.just(_delta(FUTURE_DELTA)),
    ),
    max_size=5,
)


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.dictionaries(st.sampled_from(["city", "a b", "", "\u2028", 'q"']), values, max_size=2)


_LEAVES: Final = st.none() | _BOOLEANS | st.integers(-(10**20), 10**20) | PROSE
# Small, since what they hold is only passed on.
_NO_INPUT: Final[st.SearchStrategy[Json]] = st.builds(dict)
_INPUTS: Final = _NO_INPUT | _objects(_LEAVES | st.lists(_LEAVES, max_size=2) | _objects(_LEAVES))


@st.composite
def text_blocks(draw: st.DrawFn) -> Steps:
    given = draw(_GIVEN)
    return [_start({"type": "text", "text": given}, Told("text", given)), *draw(_DELTAS), _stop()]


@st.composite
def thinking_blocks(draw: st.DrawFn) -> Steps:
    given, texts, signature = draw(_GIVEN), draw(PROSES), draw(_OPAQUE)
    return [
        _start({"type": "thinking", "thinking": given, "signature": ""}, Told("thinking", given)),
        *[_delta({"type": "thinking_delta", "thinking": text}, Told("thinking", text)) for text in texts],
        _delta({"type": "signature_delta", "signature": signature}, Told("signature", signature)),
        _stop(),
    ]


@st.composite
def redacted_blocks(draw: st.DrawFn) -> Steps:
    data = draw(_OPAQUE)
    return [_start({"type": "redacted_thinking", "data": data}, Told("redacted", data)), _stop()]


@st.composite
def calls(draw: st.DrawFn, number: int, *, server: bool = False, given: bool = True, cut: bool = False) -> Steps:
    """A call with its input in pieces, without any, or (`given`) with it from the start; a `cut` one is no JSON."""
    id, name, input = f"toolu_{number}", draw(_NAMES), draw(_INPUTS)
    if given and not cut and draw(_BOOLEANS):
        started, pieces = input, []
        first = [Told("input", Pen(0).write(input))] if input else []
    else:
        started, pieces, first = {}, _pieces(draw, draw(PENS).write(input), cut=cut), []
    block = {"type": "server_tool_use" if server else "tool_use", "id": id, "name": name, "input": started}
    return [
        _start(block, Told("server_call" if server else "call", name, id), *first),
        *[_delta({"type": "input_json_delta", "partial_json": piece}, Told("input", piece)) for piece in pieces],
        _stop(),
    ]


def _pieces(draw: st.DrawFn, written: str, *, cut: bool) -> list[Prose]:
    """An input's JSON, split anywhere, also inside an escape; no piece at all may stand for an empty one."""
    if cut:
        written = written[: int(draw(_SHARES) * (len(written) - 1))].rstrip() or "{"
    elif written == "{}" and draw(_BOOLEANS):
        return []
    bounds = [0, *sorted(int(place * len(written)) for place in draw(_PLACES)), len(written)]
    pieces = [Prose(written[begin:end]) for begin, end in pairwise(bounds)]
    return [Prose(""), *pieces] if draw(_BOOLEANS) else pieces


@st.composite
def server_blocks(draw: st.DrawFn, number: int, *, given: bool = True) -> Steps:
    """A tool that the upstream runs, and what it brought."""
    call = draw(calls(number, server=True, given=given))
    found = {"type": "web_search_result", "url": "https://example.com/r", "page_age": None}
    failed = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    result = {
        "type": "web_search_tool_result",
        "tool_use_id": f"toolu_{number}",
        "content": failed if draw(_BOOLEANS) else [{**found, "title": title} for title in draw(PROSES)],
    }
    return [*call, _start(result), _stop()]
