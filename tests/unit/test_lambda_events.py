"""What front doors make of an HTTP request, as Mangum reads it again."""

from typing import Any

import pytest
from mangum.handlers import APIGateway, HTTPGateway

from local.aws_lambda.events import Received, version_1, version_2

HEADERS = [
    ("Host", "example.test"),
    ("Content-Type", "application/json"),
    ("X-Twice", "1"),
    ("X-Twice", "2"),
    ("Cookie", "a=1; b=2"),
]
CONFIG: Any = {"api_gateway_base_path": "/", "text_mime_types": [], "exclude_headers": []}


def _received(body: bytes, **changes: Any) -> Received:
    given = {"method": "POST", "path": "/a%20b/c", "query": "x=1&x=2&y=%26", "headers": HEADERS, "peer": "192.0.2.1"}
    return Received(body=body, **{**given, **changes})


@pytest.mark.parametrize("body", [b"", '{"größer": 1}'.encode(), b"\xff\0"])
@pytest.mark.parametrize(("event", "reader"), [(version_2, HTTPGateway), (version_1, APIGateway)])
def test_a_request_is_read_again_as_it_was(event: Any, reader: Any, body: bytes) -> None:
    made = event(_received(body))
    assert reader.infer(made, {}, CONFIG)
    read = reader(made, {}, CONFIG)
    scope = read.scope
    assert (scope["method"], scope["path"], read.body) == ("POST", "/a b/c", body)
    assert scope["query_string"] == b"x=1&x=2&y=%26"
    headers = dict(scope["headers"])
    assert headers[b"host"] == b"example.test"
    assert headers[b"cookie"].replace(b" ", b"") == b"a=1;b=2"
    assert headers[b"x-twice"].replace(b" ", b"").endswith(b"2")


def test_bodies_that_are_no_text_are_encoded() -> None:
    assert version_2(_received(b"{}"))["isBase64Encoded"] is False
    binary = version_2(_received(b"{}", headers=[("Content-Type", "application/octet-stream")]))
    assert (binary["isBase64Encoded"], binary["body"]) == (True, "e30=")
