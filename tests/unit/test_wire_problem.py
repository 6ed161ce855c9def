"""Errors of Headwater's own endpoints: RFC 9457."""

import msgspec

from app.domain.errors import NotFound, Unprocessable
from app.wire import problem


def test_an_error() -> None:
    assert msgspec.json.decode(problem.error_body(NotFound("There is no such key."), "req_1")) == {
        "type": "/problems/not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no such key.",
        "request_id": "req_1",
    }


def test_an_error_of_a_field() -> None:
    body = msgspec.json.decode(problem.error_body(Unprocessable("a: no", param="a"), "req_1"))
    assert (body["type"], body["status"], body["param"]) == ("/problems/validation_failed", 422, "a")
