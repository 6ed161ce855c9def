"""Random answers as canonical events, by the grammar of the Messages API's streams, and what they tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st

from app.domain.events import Event
from tests.properties.blocks import (
    FUTURE_DELTA,
    Json,
    Step,
    Steps,
    Told,
    calls,
    redacted_blocks,
    server_blocks,
    text_blocks,
    thinking_blocks,
)
from tests.properties.spelling import PENS, PROSE, Pen

_TOOL_STOPS: Final = ("tool_use", "pause_turn")
_STOPS: Final = ("end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded", "reason_of_the_future")
End = tuple[str, str, int]

# How a log ends: the kind and the code of the error, and how far behind its place the end lies.
FAR_OFF: Final = ("api_error", "interrupted", 999_999)
_ENDS: Final = st.sampled_from(
    [
        *[("", "done", 0)] * 4,
        FAR_OFF,
        ("api_error", "interrupted", 0),
        ("api_error", "cancelled", 0),
        ("overloaded_error", "upstream_overloaded", 0),
        ("timeout_error", "stream_limit", 0),
    ]
)

_BOOLEANS: Final = st.booleans()
_COUNTS: Final = st.integers(0, 10**6)
_PERHAPS: Final = st.none() | _COUNTS
_KINDS_OF_END: Final = st.sampled_from(["tool", "plain", "cut", "refusal"])
_NOISE: Final[st.SearchStrategy[Json]] = st.sampled_from(
    [{"type": "ping"}, {"type": "event_of_the_future", "delta": FUTURE_DELTA}]
)
_NOISES: Final = st.lists(st.tuples(st.floats(0, 1), _NOISE), max_size=3)


@dataclass(frozen=True)
class Answer:
    """`told` has an entry for each event; `usage` is what the counts add up to; `end` is `done` or an error's code."""

    events: list[Event]
    told: list[list[Told]]
    usage: dict[str, Any]
    stop_reason: str
    explanation: str
    end: str

    @property
    def positions(self) -> list[int]:
        """All that a reader can have seen, 0 for nothing."""
        return [0, *[event.seq for event in self.events]]

    def inside_server_calls(self) -> set[int]:
        """The positions from the start of a call of the upstream's own tools up to its end."""
        inside, found = False, set()
        for event, told in zip(self.events, self.told, strict=True):
            if any(part.kind == "server_call" for part in told):
                inside = True
            elif event.type == "content_block_stop":
                inside = False
            if inside:
                found.add(event.seq)
        return found


@st.composite
def answers(
    draw: st.DrawFn, *, given: bool = True, max_blocks: int = 4, ends: st.SearchStrategy[End] = _ENDS
) -> Answer:
    """`given` allows calls that have their input from the start, in answers that no error cuts short."""
    kind, end, gap = draw(ends)
    given = given and end == "done"
    blocks = [draw(_block(number, given)) for number in range(max_blocks - draw(_up_to(max_blocks)))]
    stop_reason, explanation, last = _end(draw, max_blocks, given=given)
    steps = [_start(draw), *_with_noise(draw, _numbered([*blocks, *last]))]
    steps += [*_message_deltas(draw, stop_reason, explanation), Step({"type": "message_stop"})]
    if end != "done":
        steps = [*steps[: len(steps) - 1 - draw(_up_to(len(steps) - 1))], _error(kind, end, draw(PROSE))]
    return Answer(
        events=_written(draw(PENS), steps, gap),
        told=[step.told for step in steps],
        usage=_usage(steps),
        stop_reason=stop_reason,
        explanation=explanation,
        end=end,
    )


@cache
def _up_to(most: int) -> st.SearchStrategy[int]:
    return st.integers(0, most)


@cache
def _block(number: int, given: bool) -> st.SearchStrategy[Steps]:
    call, server_call = calls(number, given=given), server_blocks(number, given=given)
    return st.one_of(text_blocks(), call, thinking_blocks(), server_call, text_blocks(), call, redacted_blocks())


def _written(pen: Pen, steps: Steps, gap: int) -> list[Event]:
    """All at neighbouring positions; `gap` lies before the last."""
    events = [Event(seq, step.event["type"], pen.write(step.event).encode()) for seq, step in enumerate(steps, start=1)]
    return [*events[:-1], Event(len(steps) + gap, events[-1].type, events[-1].data)]


def _end(draw: st.DrawFn, number: int, *, given: bool) -> tuple[str, str, list[Steps]]:
    """A stop reason, the explanation of a refusal and the block that leads to it."""
    match draw(_KINDS_OF_END):
        case "tool":
            return draw(st.sampled_from(_TOOL_STOPS)), "", [draw(calls(number, given=given))]
        case "cut":
            return "max_tokens", "", [draw(calls(number, cut=True))]
        case "refusal":
            return "refusal", draw(PROSE), []
    return draw(st.sampled_from(_STOPS)), "", []


def _numbered(blocks: Sequence[Steps]) -> Steps:
    return [Step({**step.event, "index": index}, step.told) for index, steps in enumerate(blocks) for step in steps]


def _with_noise(draw: st.DrawFn, steps: Steps) -> Steps:
    """Pings and events of the future anywhere between the others."""
    noisy = list(steps)
    for share, event in draw(_NOISES):
        noisy.insert(int(share * len(steps)), Step(event))
    return noisy


def _start(draw: st.DrawFn) -> Step:
    usage = {
        "input_tokens": draw(_COUNTS),
        "cache_creation_input_tokens": draw(_PERHAPS),
        "cache_read_input_tokens": draw(_PERHAPS),
        "output_tokens": 1,
        "service_tier": "standard",
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sim", "content": []}
    return Step({"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}})


def _message_deltas(draw: st.DrawFn, stop_reason: str, explanation: str) -> Steps:
    """The last one has the reason; one before it may have counts alone."""
    output = draw(_COUNTS)
    again = {"input_tokens": draw(_COUNTS)} if draw(_BOOLEANS) else {}
    thought = {"output_tokens_details": {"thinking_tokens": output // 2}} if draw(_BOOLEANS) else {}
    delta: Json = {"stop_reason": stop_reason, "stop_sequence": "\n" if stop_reason == "stop_sequence" else None}
    if stop_reason == "refusal":
        delta["stop_details"] = {"type": "refusal", "category": None, "explanation": explanation or None}
    last = Step({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output, **again, **thought}})
    early = Step({"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": output // 3}})
    return [early, last] if draw(_BOOLEANS) else [last]


def _error(kind: str, code: str, message: str) -> Step:
    error = {"type": kind, "message": message or "It ended.", "details": {"error_code": code}}
    return Step({"type": "error", "error": error, "request_id": "req_1"})


def _usage(steps: Steps) -> dict[str, Any]:
    usage: dict[str, Any] = {}
    for step in steps:
        usage |= step.event.get("message", {}).get("usage", {}) | step.event.get("usage", {})
    return usage
