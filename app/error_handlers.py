"""From an error to a response: the one place that decides in whose shape an error is told."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import psycopg
import psycopg_pool
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.domain.errors import (
    AppError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RequestTooLarge,
    Unavailable,
    Unprocessable,
)
from app.wire import anthropic_messages, problem

_log = logging.getLogger(__name__)

_BY_STATUS: dict[int, type[AppError]] = {404: NotFound, 405: MethodNotAllowed, 413: RequestTooLarge}


def error_response(error: AppError, path: str, request_id: str) -> Response:
    """`error` in the shape that callers of `path` understand."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if path.startswith("/v1/messages"):
        return Response(
            anthropic_messages.error_body(error, request_id),
            anthropic_messages.status(error),
            headers,
            "application/json",
        )
    if path.startswith("/api/chat"):
        return Response(error.message, error.http_status, headers, "text/plain")  # `useChat` shows the text as it is
    return Response(problem.error_body(error, request_id), error.http_status, headers, problem.MEDIA_TYPE)


def register(app: FastAPI) -> None:
    """Answer every exception that a route can raise."""
    app.add_exception_handler(AppError, _respond)
    app.add_exception_handler(RequestValidationError, _respond)
    app.add_exception_handler(HTTPException, _respond)
    app.add_exception_handler(psycopg.Error, _respond)
    app.add_exception_handler(psycopg_pool.PoolTimeout, _respond)


async def _respond(request: Request, exc: Exception) -> Response:
    response = error_response(as_app_error(exc), request.url.path, request.state.request_id)
    if isinstance(exc, HTTPException):
        response.headers.update(exc.headers or {})  # a 405 says what is allowed
    return response


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
