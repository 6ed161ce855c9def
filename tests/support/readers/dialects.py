"""Any dialect's stream, or a piece of it, as a reading."""

from collections.abc import Callable
from typing import Final

from tests.support.headwater import Frame, frames
from tests.support.readers.anthropic import read_anthropic_messages, read_plain
from tests.support.readers.openai import read_openai_chat, read_openai_responses
from tests.support.readers.reading import Reading
from tests.support.readers.ui_message import read_ui_message

_READERS: Final[dict[str, Callable[[Reading, Frame], None]]] = {
    "plain": read_plain,
    "anthropic_messages": read_anthropic_messages,
    "openai_chat": read_openai_chat,
    "openai_responses": read_openai_responses,
    "ui_message": read_ui_message,
}


def read(dialect: str, body: bytes, reading: Reading | None = None) -> Reading:
    """Take the frames of `body`; with `reading`, as what comes after those that made it, in whatever dialect."""
    reading = Reading() if reading is None else reading
    for frame in frames(body.decode()) if body else []:
        assert reading.end is None, f"behind the end: {frame}"
        _READERS[dialect](reading, frame)
    return reading
