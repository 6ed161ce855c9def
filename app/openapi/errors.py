"""Errors in the document: bodies as the encoders of each shape write them, and the errors that many endpoints have."""

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from starlette.datastructures import Headers

from app.domain.errors import (
    AppError,
    BudgetExceeded,
    Conflict,
    Gone,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UpstreamError,
    UpstreamTimeout,
)
from app.domain.limits import Limits
from app.error_handlers import ANTHROPIC, OPENAI, PROBLEM, TEXT, Shape, shape_of
from app.openapi.headers import references
from app.openapi.schemas import Components
from app.streaming.generation import Cancelled, Interrupted

# Not in RFC 9110, or by another name in Python's older versions.
_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content", 529: "Overloaded"}
_REQUEST_ID: Final = "req_01980000000070008000000000000000"
_AS_ANTHROPICS_CLIENT: Final = Headers({"x-api-key": "-"})


class Problem(Struct):
    """Problem details (RFC 9457). `type` ends in the error's code; `param`, if any, is the field at fault."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    param: str = ""


class AnthropicErrorDetails(Struct):
    error_code: str


class AnthropicErrorInfo(Struct):
    type: str
    message: str
    details: AnthropicErrorDetails


class AnthropicError(Struct):
    """An error of Anthropic's API. `error_code` says more than its `type` does."""

    type: Literal["error"]
    error: AnthropicErrorInfo
    request_id: str


class OpenAIErrorInfo(Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Struct):
    """An error of OpenAI's API."""

    error: OpenAIErrorInfo


_TYPES: Final[dict[Shape, Any]] = {PROBLEM: Problem, ANTHROPIC: AnthropicError, OPENAI: OpenAIError, TEXT: str}

ANYWHERE: Final = (
    AppError("Something went wrong on our side."),
    Unavailable("The database is not available. Try again.", code="database_unavailable", retry_after=1),
    Unavailable("This instance is shutting down. Try again.", code="draining", retry_after=1),
)
WITH_A_KEY: Final = (
    Unauthenticated("This API key is not valid."),
    Unauthenticated("No API key: send `authorization: Bearer <key>` or `x-api-key: <key>`.", code="no_api_key"),
    PermissionDenied("This key lacks the scope `completions`.", code="missing_scope"),
)
WITH_A_BODY: Final = (
    InvalidRequest("The body is not valid JSON.", code="invalid_json"),
    RequestTooLarge("The request body is larger than 5500000 bytes."),
)
INVALID: Final = Unprocessable("limit: Input should be less than or equal to 200", param="limit")
BAD_CURSOR: Final = InvalidRequest(
    "The cursor is not one that this API gave out.", code="invalid_cursor", param="cursor"
)
NO_COMPLETION: Final = NotFound("There is no such completion.")
NO_CONVERSATION: Final = NotFound("There is no such conversation.")
NO_RESPONSE: Final = NotFound("There is no such response.", param="id")
BUSY: Final = Conflict("This conversation has a running completion.", code="conversation_busy")
RUNNING: Final = Conflict("The completion is still running: cancel it first.", code="completion_running")

# What can come of asking the upstream.
UPSTREAM: Final = (
    UpstreamError("messages: at least one message is required", http_status=400, code="upstream_refused"),
    UpstreamError("model: claude-9", http_status=404, type="not_found_error", code="upstream_refused"),
    UpstreamError(
        "The upstream's rate limit is reached.",
        http_status=429,
        type="rate_limit_error",
        code="upstream_rate_limited",
        retry_after=1,
    ),
    UpstreamError("The upstream failed."),
    UpstreamTimeout("The upstream did not answer in time."),
    UpstreamError(
        "The upstream is overloaded.",
        http_status=529,
        type="overloaded_error",
        code="upstream_overloaded",
        retry_after=1,
    ),
)
# What an idempotency key can come to.
REPEATED: Final = (
    IdempotencyKeyReused(),
    InvalidRequest("The idempotency key must be 1 to 255 printable characters.", code="invalid_idempotency_key"),
)
SHOWN_ONCE: Final = Conflict(
    "This request has made 01980000-0000-7000-8000-000000000000, and its secret is shown once.",
    code="secret_shown_once",
)
# What a caller's limits and budgets, and a request that was sent before, can come to.
LIMITS: Final = (
    *REPEATED,
    RateLimited(
        "This key has used up its requests of this minute.", code="requests_limited", limits=Limits(), retry_after=7
    ),
    BudgetExceeded("This key has no room for this in its budget of the month."),
    PermissionDenied(
        "This key has a budget, and what this would cost is not known.", code="unknown_price", param="model"
    ),
    Gone("The stream of this completion is not kept any more.", code="stream_gone"),
)
# What can come of waiting for the whole answer.
ENDED: Final = (
    Cancelled("The completion was cancelled."),
    Interrupted("The service is shutting down; what was written so far is kept."),
)


def responses(path: str, errors: Iterable[AppError], components: Components) -> dict[str, Any]:
    """By status: each error in the shape of its path, or in both where that depends on the client."""
    shapes = dict.fromkeys((shape_of(path, Headers()), shape_of(path, _AS_ANTHROPICS_CLIENT)))
    told = [(shape, error) for error in errors for shape in shapes]
    statuses = sorted({shape.status(error) for shape, error in told})
    return {
        str(status): _response(
            status, [(shape, error) for shape, error in told if shape.status(error) == status], components
        )
        for status in statuses
    }


def _response(status: int, told: Sequence[tuple[Shape, AppError]], components: Components) -> dict[str, Any]:
    schemas = [components.answer(_TYPES[shape]) for shape in dict.fromkeys(shape for shape, _ in told)]
    content = {
        "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
        "examples": {_name(error, shape, len(schemas)): {"value": _body(shape, error)} for shape, error in told},
    }
    return {
        "description": _PHRASES.get(status) or HTTPStatus(status).phrase,
        "headers": references(_headers(error for _, error in told)),
        "content": {told[0][0].media_type.partition(";")[0]: content},
    }


def _headers(errors: Iterable[AppError]) -> Iterator[str]:
    for error in errors:
        if error.retry_after is not None:
            yield "retry-after"
        if error.should_retry is not None:
            yield "x-should-retry"


def _name(error: AppError, shape: Shape, shapes: int) -> str:
    return error.code if shapes == 1 else f"{error.code} ({_TYPES[shape].__name__})"


def _body(shape: Shape, error: AppError) -> Any:
    body = shape.body(error, _REQUEST_ID)
    return body.decode() if shape is TEXT else msgspec.json.decode(body)
