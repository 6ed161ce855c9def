"""The faults: each turns a whole answer into a script of what goes over the wire, and how it ends."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import chain, repeat

from local.upstream.bodies import Body


class Ending(Enum):
    """What follows the last byte."""

    CLEAN = auto()  # the body ends as HTTP says
    CUT = auto()  # the connection closes inside the body
    HANG = auto()  # nothing, until the client leaves
    RESET = auto()  # a TCP reset instead of any answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How one answer with status 200 is played.

    `pieces` are sent at the pace, `together` at a time (None: as the request says), then `torn`, a part of one more
    piece. `bytewise` sends every byte alone.
    The wait for the first event lies before the headers, unless they go `headers_first`.
    """

    content_type: str
    pieces: Iterable[bytes]
    torn: bytes = b""
    ending: Ending = Ending.CLEAN
    together: int | None = None
    bytewise: bool = False
    headers_first: bool = False


Fault = Callable[[Body], Script]


def _script(body: Body, pieces: Iterable[bytes], torn: bytes = b"", ending: Ending = Ending.CLEAN) -> Script:
    return Script(content_type=body.content_type, pieces=pieces, torn=torn, ending=ending)


def _ok(body: Body) -> Script:
    return _script(body, body.pieces)


def _before(body: Body) -> Sequence[bytes]:
    return body.pieces[: body.after]


def _with(body: Body, strange: bytes) -> Script:
    return _script(body, (*_before(body), strange, *body.pieces[body.after :]))


def _cut_mid_event(body: Body) -> Script:
    piece = body.pieces[body.after]
    return _script(body, _before(body), torn=piece[: len(piece) // 2], ending=Ending.CUT)


def _html(_: Body) -> Script:
    page = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please sign in.</body></html>\n"
    return Script(content_type="text/html; charset=utf-8", pieces=(page,))


def _endless(body: Body) -> Script:
    last = max((index for index, piece in enumerate(body.pieces) if piece == body.filler), default=0)
    return _script(body, chain(body.pieces[: last + 1], repeat(body.filler)))


def _crlf(body: Body) -> Script:
    return _script(body, [piece.replace(b"\n", b"\r\n") for piece in body.pieces])


def _multi_line(body: Body) -> Script:
    return _script(body, [_two_data_lines(piece) for piece in body.pieces])


def _two_data_lines(piece: bytes) -> bytes:
    """Break an event's JSON behind its type, where a line feed is white space."""
    head, data, payload = piece.partition(b"\ndata: ")
    behind = payload.find(b",") + 1 or 1
    return head + data + payload[:behind] + data + payload[behind:] if data else piece


FAULTS: dict[str, Fault] = {
    "ok": _ok,
    # Late or never.
    "slow-first-byte": _ok,  # its pace is what makes it slow
    "slow-first-event": lambda body: replace(_ok(body), headers_first=True),
    "silence": lambda body: _script(body, (), ending=Ending.HANG),
    "silence-mid": lambda body: _script(body, _before(body), ending=Ending.HANG),
    "endless": _endless,
    # Ended cleanly, too soon.
    "error-first": lambda body: _script(body, (body.error,)),
    "error-mid": lambda body: _script(body, (*_before(body), body.error)),
    "end-mid": lambda body: _script(body, _before(body)),
    "no-stop": lambda body: _script(body, body.pieces[:-1]),
    # The connection breaks.
    "reset": lambda body: _script(body, (), ending=Ending.RESET),
    "cut-first": lambda body: _script(body, (), ending=Ending.CUT),
    "cut-mid-event": _cut_mid_event,
    "cut-mid-character": lambda body: _script(body, _before(body), torn=body.half_character, ending=Ending.CUT),
    # What is no event stream, or not all of it.
    "malformed": lambda body: _with(body, body.not_json),
    "bad-utf8": lambda body: _with(body, body.bad_utf8),
    "html": _html,
    # Unusual and right.
    "crlf": _crlf,
    "multi-line": _multi_line,
    "tiny-reads": lambda body: replace(_ok(body), bytewise=True),
    "one-read": lambda body: replace(_ok(body), together=len(body.pieces)),
}
