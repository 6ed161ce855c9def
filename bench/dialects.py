"""What each dialect costs: CPU per event of its encoder, and of a whole service that streams in it.

`python -m bench.dialects` encodes two long answers, in batches as a network read brings them; `python -m bench.dialects
.data/run.json` has a service that `make run` started stream bursts in every dialect. Rounds alternate between the
dialects, so that a busy machine is busy for all of them. Loopback only; ends by itself within two minutes.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psutil

from app.domain.events import Event
from app.domain.ids import uuid7
from app.wire.anthropic_messages import AnthropicMessagesEncoder
from app.wire.openai_chat import OpenAIChatEncoder
from app.wire.openai_response import Head
from app.wire.openai_responses import OpenAIResponsesEncoder
from app.wire.plain import PlainEncoder
from app.wire.sse import Encoder
from app.wire.ui_message import UiMessageEncoder

ROUNDS: Final = 15
REPEATS: Final = 10
BATCH: Final = 4
WORDS: Final = 2000

STREAMS: Final = 20
TOKENS: Final = 1000
BURSTS: Final = 15

_ID: Final = UUID("0197a000-0000-7000-8000-000000000001")
ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "plain": PlainEncoder,
    "anthropic_messages": AnthropicMessagesEncoder,
    "openai_chat": lambda: OpenAIChatEncoder(_ID, include_usage=True, reasoning=True),
    "openai_responses": lambda: OpenAIResponsesEncoder(Head(_ID, "claude-sim", {})),
    "ui_message": lambda: UiMessageEncoder(_ID),
}

Json = dict[str, Any]


# -- the answers


def _answer(blocks: list[list[Json]]) -> list[Event]:
    usage = {"input_tokens": 900, "cache_read_input_tokens": 0, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sim", "content": []}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2000}}
    inner = [{**event, "index": index} for index, block in enumerate(blocks) for event in block]
    datas: list[Json] = [{"type": "message_start", "message": {**message, "usage": usage}}, *inner, end]
    datas.append({"type": "message_stop"})
    return [Event(seq, data["type"], msgspec.json.encode(data)) for seq, data in enumerate(datas, 1)]


def _block(start: Json, deltas: list[Json]) -> list[Json]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": start},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
    ]


def _text(words: int) -> list[Json]:
    return _block({"type": "text", "text": ""}, [{"type": "text_delta", "text": " river"}] * words)


def _thinking(words: int) -> list[Json]:
    deltas = [
        *[{"type": "thinking_delta", "thinking": " Hm,"}] * words,
        {"type": "signature_delta", "signature": "a" * 400},
    ]
    return _block({"type": "thinking", "thinking": "", "signature": ""}, deltas)


def _call(number: int, pieces: int) -> list[Json]:
    written = json.dumps({"cities": ["Paris"] * pieces})
    cut = [written[place : place + 9] for place in range(0, len(written), 9)]
    start = {"type": "tool_use", "id": f"toolu_{number}", "name": "get_weather", "input": {}}
    return _block(start, [{"type": "input_json_delta", "partial_json": piece} for piece in cut])


ANSWERS: Final = {
    "text": _answer([_text(WORDS)]),
    "mixed": _answer(
        [_thinking(WORDS // 3), *[_text(WORDS // 30) for _ in range(10)], *[_call(n, 70) for n in range(10)]]
    ),
}


# -- the encoders


def _encode(encoder: Encoder, events: list[Event]) -> None:
    for place in range(0, len(events), BATCH):
        encoder.encode(events[place : place + BATCH])


def _us_to_encode(dialect: str, events: list[Event]) -> float:
    before = time.process_time()
    for _ in range(REPEATS):
        _encode(ENCODERS[dialect](), events)
    return (time.process_time() - before) / REPEATS / len(events) * 1e6


def encoders() -> None:
    for answer, events in ANSWERS.items():
        rounds = [{dialect: _us_to_encode(dialect, events) for dialect in ENCODERS} for _ in range(ROUNDS)]
        _print(f"{answer}, {len(events)} events: encoding", rounds)


# -- the service


async def _burst(run: Json, app: psutil.Process, dialect: str) -> float:
    """CPU of the service for each event of its upstream, in microseconds."""
    before = _cpu(app)
    await asyncio.gather(*[_read(run, dialect) for _ in range(STREAMS)])
    return (_cpu(app) - before) / STREAMS / TOKENS * 1e6


def _cpu(app: psutil.Process) -> float:
    times = app.cpu_times()
    return times.user + times.system


async def _read(run: Json, dialect: str) -> None:
    path, body = _request(dialect)
    address = urlsplit(run["url"])
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    content = json.dumps({"model": f"sim-ok?tokens={TOKENS}&rate=0&first_ms=0", "stream": True, **body}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\nauthorization: Bearer {run['key']}\r\n"
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    answer = await reader.read()
    frames = answer.count(b"\ndata: ")
    assert frames >= TOKENS, f"{dialect}: {frames} frames, {answer[:300]!r}"
    writer.close()


def _request(dialect: str) -> tuple[str, Json]:
    messages = [{"role": "user", "content": "Go on."}]
    match dialect:
        case "anthropic_messages":
            return "/v1/messages", {"messages": messages, "max_tokens": TOKENS}
        case "openai_chat":
            return "/v1/chat/completions", {"messages": messages, "max_tokens": TOKENS}
        case "openai_responses":
            return "/v1/responses", {"input": "Go on.", "max_output_tokens": TOKENS}
        case "ui_message":
            said = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Go on."}]}
            return "/api/chat", {"id": str(uuid7()), "messages": [said], "max_tokens": TOKENS}
    return "/v1/completions", {"input": "Go on.", "max_tokens": TOKENS}


def _app_process(launcher: int) -> psutil.Process:
    """The service among the children of `make run`."""
    children = psutil.Process(launcher).children(recursive=True)
    return next(child for child in children if child.cmdline()[-2:] == ["-m", "app"])


async def service(run: Json) -> None:
    app = _app_process(run["pid"])
    for dialect in ENCODERS:  # what the first streams alone bring is not a cost of each
        await _burst(run, app, dialect)
    rounds = [{dialect: await _burst(run, app, dialect) for dialect in ENCODERS} for _ in range(BURSTS)]
    _print(f"{STREAMS} streams of {TOKENS} events at full speed: the service", rounds)


def _print(what: str, rounds: list[dict[str, float]]) -> None:
    print(f"{what}, CPU per event, median of {len(rounds)} rounds (least to most), ratio to plain")
    for dialect in ENCODERS:
        costs = [round[dialect] for round in rounds]
        ratio = statistics.median(round[dialect] / round["plain"] for round in rounds)
        spread = f"({min(costs):.2f} to {max(costs):.2f})"
        print(f"  {dialect:20} {statistics.median(costs):6.2f} us  {spread:18} {ratio:5.2f}")


if __name__ == "__main__":
    asyncio.run(service(json.loads(Path(sys.argv[1]).read_text()))) if len(sys.argv) > 1 else encoders()
