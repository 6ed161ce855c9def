"""From an error to a response: the one place that decides in whose shape an error is told."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
import psycopg_pool
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app.domain.errors import (
    AppError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    RequestTooLarge,
    RequestTooSlow,
    Unavailable,
    Unprocessable,
)
from app.domain.limits import Limits
from app.wire import anthropic_messages, limit_headers, openai_errors, problem

_log = logging.getLogger(__name__)

_BY_STATUS: dict[int, type[AppError]] = {404: NotFound, 405: MethodNotAllowed, 413: RequestTooLarge}


class Shape(NamedTuple):
    """How callers of some paths are told of an error."""

    body: Callable[[AppError, str], bytes]
    status: Callable[[AppError], int]
    media_type: str
    limits: Callable[[Limits], dict[str, str]]


PROBLEM = Shape(problem.error_body, problem.status, problem.MEDIA_TYPE, limit_headers.native)
ANTHROPIC = Shape(anthropic_messages.error_body, anthropic_messages.status, "application/json", limit_headers.anthropic)
OPENAI = Shape(openai_errors.error_body, openai_errors.status, "application/json", limit_headers.openai)
# `useChat` shows the text as it is.
TEXT = Shape(lambda error, _: error.message.encode(), problem.status, "text/plain; charset=utf-8", limit_headers.native)


def _of_either_client(headers: Headers) -> Shape:
    """Both ask for models under one path; only Anthropic's clients send these headers."""
    return ANTHROPIC if "anthropic-version" in headers or "x-api-key" in headers else OPENAI


# Under each of these paths, all errors have one shape; under all others they are problems.
_SHAPES: dict[str, Shape | Callable[[Headers], Shape]] = {
    "/v1/messages": ANTHROPIC,
    "/v1/chat": OPENAI,
    "/v1/responses": OPENAI,
    "/v1/models": _of_either_client,
    "/api/chat": TEXT,
}


def shape_of(path: str, headers: Headers) -> Shape:
    """The shape of all errors of a request to `path` with these headers."""
    for prefix, shape in _SHAPES.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return shape if isinstance(shape, Shape) else shape(headers)
    return PROBLEM


def error_response(error: AppError, scope: Scope, request_id: str) -> Response:
    """`error` in the shape that whoever sent this request understands."""
    shape = shape_of(scope["path"], Headers(scope=scope))
    headers = shape.limits(error.limits) if isinstance(error, RateLimited) else {}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if isinstance(error, RequestTooSlow):
        headers["connection"] = "close"  # the rest of the body may still come
    return Response(shape.body(error, request_id), shape.status(error), headers, shape.media_type)


def register(app: FastAPI) -> None:
    """Answer every exception that a route can raise."""
    app.add_exception_handler(AppError, _respond)
    app.add_exception_handler(RequestValidationError, _respond)
    app.add_exception_handler(HTTPException, _respond)
    app.add_exception_handler(psycopg.Error, _respond)
    app.add_exception_handler(psycopg_pool.PoolTimeout, _respond)


async def _respond(request: Request, exc: Exception) -> Response:
    response = error_response(as_app_error(exc), request.scope, request.state.request_id)
    if isinstance(exc, HTTPException):
        response.headers.update(exc.headers or {})
    if response.status_code == 405:
        response.headers["allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    """All that may be asked of this path. Each method is a route of its own; the framework would name those of one."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(request.scope)[0] != Match.NONE]
    return {method for route in matching for method in route.methods or ()}


def as_app_error(exc: Exception) -> AppError:
    """The error that a caller is told of; what it must not see goes to the log."""
    match exc:
        case AppError():
            return exc
        case RequestValidationError():
            return validation_error(exc.errors())
        case HTTPException(__cause__=AppError() as cause):
            return cause  # FastAPI wraps what reading a body raises
        case HTTPException():
            return _BY_STATUS.get(exc.status_code, InvalidRequest)(str(exc.detail))
        case psycopg.OperationalError() | psycopg_pool.PoolTimeout():
            _log.warning("database unavailable", exc_info=exc)
            return Unavailable("The database is not available. Try again.", code="database_unavailable", retry_after=1)
    _log.error("unhandled error", exc_info=exc)
    return AppError("Something went wrong on our side.")


def validation_error(errors: Sequence[Any]) -> AppError:
    """Pydantic's list of faults as one error about the first of them, without the values that were sent."""
    first = errors[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    if first["type"] == "json_invalid":
        return InvalidRequest("The body is not valid JSON.", code="invalid_json")
    field = ".".join(where) or "body"
    return Unprocessable(f"{field}: {first['msg']}", param=field)
