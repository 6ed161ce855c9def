"""What callers are told of every fault of the simulated upstream: the data of `test_faults`.

No outcome is a clean end that hides a cut.
"""

from dataclasses import dataclass
from typing import Final

SERVER: Final = "server_error"
REQUEST: Final = "invalid_request_error"

TRIES: Final = 2


@dataclass(frozen=True)
class Error:
    """Status, type and code as the native API and Anthropic's clients have them; `openai` where theirs have others."""

    status: int
    type: str
    code: str
    openai: tuple[int, str, str | None] | None = None

    @property
    def as_openai(self) -> tuple[int, str, str | None]:
        return self.openai or (self.status, SERVER, self.code)


@dataclass(frozen=True)
class Refused:
    """Told by the HTTP status, because nothing had come."""

    error: Error
    tries: int = 1
    retry_after: str | None = None


@dataclass(frozen=True)
class Broken:
    """Told inside the stream, because something had come; by the status where the answer comes in one piece."""

    error: Error


@dataclass(frozen=True)
class Whole:
    """Nothing to tell but why the model stopped."""

    stop_reason: str = "end_turn"


Outcome = Refused | Broken | Whole

CREDENTIALS: Final = Error(502, "api_error", "upstream_credentials")
FAILED: Final = Error(502, "api_error", "upstream_error")
UNREADABLE: Final = Error(502, "api_error", "upstream_malformed")
UNREACHABLE: Final = Error(502, "api_error", "upstream_connection")
TRUNCATED: Final = Error(502, "api_error", "upstream_truncated")
TIMEOUT: Final = Error(504, "timeout_error", "upstream_timeout")
LIMIT: Final = Error(504, "timeout_error", "stream_limit")
OVERLOADED: Final = Error(529, "overloaded_error", "upstream_overloaded", (503, SERVER, "overloaded"))
LIMITED: Final = Error(
    429, "rate_limit_error", "upstream_rate_limited", (429, "rate_limit_error", "rate_limit_exceeded")
)
BAD: Final = Error(400, "invalid_request_error", "upstream_refused", (400, REQUEST, None))
UNKNOWN: Final = Error(404, "not_found_error", "upstream_refused", (404, REQUEST, "model_not_found"))
TOO_LARGE: Final = Error(413, "request_too_large", "upstream_refused", (413, REQUEST, None))

OUTCOMES: Final[dict[str, Outcome]] = {
    # An HTTP status of the upstream.
    "sim-400": Refused(BAD),
    "sim-401": Refused(CREDENTIALS),
    "sim-402": Refused(FAILED),
    "sim-403": Refused(CREDENTIALS),
    "sim-404": Refused(UNKNOWN),
    "sim-405": Refused(FAILED),
    "sim-409": Refused(FAILED, TRIES),
    "sim-413": Refused(TOO_LARGE),
    "sim-429?retry_after=77": Refused(LIMITED, retry_after="77"),
    "sim-429?retry_after=0": Refused(LIMITED, TRIES, retry_after="0"),
    "sim-500": Refused(FAILED, TRIES),
    "sim-504": Refused(TIMEOUT, TRIES),
    "sim-529?retry_after=77": Refused(OVERLOADED, retry_after="77"),
    # Late or never.
    "sim-slow-first-byte": Whole(),
    "sim-slow-first-event": Whole(),
    "sim-silence": Refused(TIMEOUT, TRIES),
    "sim-silence-mid?after=0": Refused(TIMEOUT, TRIES),
    "sim-silence-mid": Broken(TIMEOUT),
    "sim-endless": Broken(LIMIT),
    # Ended too soon.
    "sim-error-first": Refused(OVERLOADED, TRIES),
    "sim-error-mid?after=0": Refused(OVERLOADED, TRIES),
    "sim-error-mid": Broken(OVERLOADED),
    "sim-end-mid?after=0": Refused(TRUNCATED, TRIES),
    "sim-end-mid": Broken(TRUNCATED),
    "sim-no-stop": Whole(),
    # The connection broke.
    "sim-reset": Refused(UNREACHABLE, TRIES),
    "sim-cut-first": Refused(UNREACHABLE, TRIES),
    "sim-cut-mid-event?after=0": Refused(UNREACHABLE, TRIES),
    "sim-cut-mid-event": Broken(UNREACHABLE),
    "sim-cut-mid-event?rate=200": Broken(UNREACHABLE),
    "sim-cut-mid-character": Broken(UNREACHABLE),
    # What is no event stream, or not all of it.
    "sim-malformed?after=0": Refused(UNREADABLE),
    "sim-malformed": Broken(UNREADABLE),
    "sim-bad-utf8?after=0": Refused(UNREADABLE),
    "sim-bad-utf8": Broken(UNREADABLE),
    "sim-html": Refused(UNREADABLE),
    # Unusual and right.
    "sim-ok": Whole(),
    "sim-crlf": Whole(),
    "sim-multi-line": Whole(),
    "sim-tiny-reads?tokens=40": Whole(),
    "sim-one-read": Whole(),
    "sim-ok?unknown_event=1": Whole(),
    "sim-ok?unknown_block=1": Whole(),
    "sim-ok?redacted=1": Whole(),
    "sim-ok?stop_reason=refusal": Whole("refusal"),
    "sim-ok?stop_reason=max_tokens": Whole("max_tokens"),
    "sim-ok?stop_reason=model_context_window_exceeded": Whole("model_context_window_exceeded"),
    "sim-ok?stop_reason=pause_turn": Whole("pause_turn"),
    "sim-ok?stop_reason=of_the_future": Whole("of_the_future"),
}

RESPONSE_CODES: Final = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}
COMPLETED: Final = ("completed",)
TOO_LONG: Final = ("incomplete", "max_output_tokens")

# Why the model stopped, in the words of Chat Completions, of a response, and of a UI message.
STOP_REASONS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "end_turn": ("stop", COMPLETED, "stop"),
    "stop_sequence": ("stop", COMPLETED, "stop"),
    "pause_turn": ("stop", COMPLETED, "stop"),
    "max_tokens": ("length", TOO_LONG, "length"),
    "model_context_window_exceeded": ("length", TOO_LONG, "length"),
    "tool_use": ("tool_calls", COMPLETED, "tool-calls"),
    "refusal": ("content_filter", ("incomplete", "content_filter"), "content-filter"),
    "of_the_future": ("stop", COMPLETED, "other"),
}


def stopped(dialect: str, way: str, stop_reason: str) -> tuple[str, ...]:
    """The end of a whole answer, as `Told` has it."""
    chat, (status, *why), page = STOP_REASONS[stop_reason]
    match dialect, way:
        case "responses", "stream":
            return (f"response.{status}", *why)
        case "responses", _:
            return ("200", status, *why) if way == "whole" else (status, *why)
        case "ui", _:
            return ("finish", page)
        case "messages", "stream":
            return (stop_reason, "message_stop")
    word = chat if dialect == "chat" else stop_reason
    return ("200", word) if way == "whole" else (word, "[DONE]")


def ended(dialect: str, way: str, error: Error, *, begun: bool) -> tuple[tuple[str, ...], str | None]:
    """The end that an error makes, and its type; `begun` says that a part of the answer had come."""
    status, type, code = error.as_openai if dialect in ("chat", "responses") else (error.status, error.type, error.code)
    if way == "whole" or (way == "stream" and not begun):
        words = (str(status),) if dialect == "ui" else (str(status), str(code))
        return words, type if dialect not in ("plain", "ui") else None
    match dialect:
        case "chat":
            return ("error", str(code), "[DONE]"), type
        case "responses":  # codes of a failed response are few; its type says more
            code = RESPONSE_CODES.get(error.type, SERVER)
            return ("response.failed" if way == "stream" else "failed", error.code), code
        case "ui":
            return ("error",), None
    return ("error", error.code), type
