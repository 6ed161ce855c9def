"""The grammar of a Messages API stream: an answer becomes the frames that tell it, each one whole event."""

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from local.upstream.answers import Answer
from local.upstream.blocks import Block
from local.upstream.schema import Json


def frame(data: Json) -> bytes:
    """Return one event; its name equals the type in its data."""
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), msgspec.json.encode(data))


PING = frame({"type": "ping"})


def stream(answer: Answer, *, unknown_event: bool = False) -> list[bytes]:
    """Return all frames of an answer, in order.

    Args:
        answer: what is told.
        unknown_event: also send an event of a type that no client knows, before `message_delta`.
    """
    frames = [frame({"type": "message_start", "message": answer.empty_message()})]
    for index, block in enumerate(answer.blocks):
        frames.extend(_block(index, block))
    # The API pings once the first block has begun.
    frames.insert(2, PING)
    if unknown_event:
        frames.append(frame({"type": "future_event", "payload": {"from": "the future"}}))
    frames.append(frame({"type": "message_delta", "delta": answer.ending(), "usage": answer.output_usage()}))
    frames.append(frame({"type": "message_stop"}))
    return frames


@lru_cache(maxsize=4096)  # long and many answers repeat the same words
def string_delta(index: int, delta_type: str, key: str, value: str) -> bytes:
    """Return the frame of a delta that carries one string."""
    return _delta(index, {"type": delta_type, key: value})


def _block(index: int, block: Block) -> Iterator[bytes]:
    yield frame({"type": "content_block_start", "index": index, "content_block": block.started()})
    for piece in block.sent():
        yield string_delta(index, block.delta_type, block.delta_key, piece)
    for delta in block.closing():
        yield _delta(index, delta)
    yield frame({"type": "content_block_stop", "index": index})


def _delta(index: int, delta: Json) -> bytes:
    return frame({"type": "content_block_delta", "index": index, "delta": delta})
