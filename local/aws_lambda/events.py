"""What front doors make of an HTTP request: the two forms of events, and nothing that a function would miss."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from app.domain.ids import uuid7
from local.aws_lambda.function import ACCOUNT

Headers = Sequence[tuple[str, str]]
_TEXT: Final = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-www-form-urlen",
)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came: `path` and `query` are encoded, names of headers have their case."""

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    peer: str


def version_2(received: Received) -> dict[str, Any]:
    """Of function URLs and HTTP APIs, for which the two are the same."""
    headers = _joined(received.headers)
    cookies = headers.pop("cookie", "")
    host = headers.get("host", "")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": received.path,
        "rawQueryString": received.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.split(".")[0],
            "http": {
                "method": received.method,
                "path": received.path,
                "protocol": "HTTP/1.1",
                "sourceIp": received.peer,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid7()),
            "routeKey": "$default",
            "stage": "$default",
            **_now(),
        },
        **_body(received),
    }
    if cookies:
        event["cookies"] = cookies.split("; ")
    if received.query:
        event["queryStringParameters"] = _joined(parse_qsl(received.query, keep_blank_values=True))
    return event


def version_1(received: Received) -> dict[str, Any]:
    """Of REST APIs, with one proxy resource for everything."""
    query = parse_qsl(received.query, keep_blank_values=True)
    path = unquote(received.path)
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": received.method,
        "headers": dict(received.headers) or None,
        "multiValueHeaders": _gathered(received.headers),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _gathered(query),
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "resourceId": "local",
            "resourcePath": "/{proxy+}",
            "httpMethod": received.method,
            "path": "/local" + path,
            "stage": "local",
            "protocol": "HTTP/1.1",
            "requestId": str(uuid7()),
            "identity": {"sourceIp": received.peer, "userAgent": dict(received.headers).get("User-Agent")},
            "requestTime": _now()["time"],
            "requestTimeEpoch": _now()["timeEpoch"],
        },
        **_body(received),
    }


def _joined(pairs: Headers) -> dict[str, str]:
    """One value a name, in small letters."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        separator = "; " if key == "cookie" else ","
        joined[key] = joined[key] + separator + value if key in joined else value
    return joined


def _gathered(pairs: Headers) -> dict[str, list[str]] | None:
    gathered: dict[str, list[str]] = {}
    for name, value in pairs:
        gathered.setdefault(name, []).append(value)
    return gathered or None


def _body(received: Received) -> dict[str, Any]:
    if not received.body:
        return {"isBase64Encoded": False}
    if _joined(received.headers).get("content-type", "").startswith(_TEXT):
        try:
            return {"body": received.body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(received.body).decode(), "isBase64Encoded": True}


def _now() -> dict[str, Any]:
    now = time.time()
    return {"time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)), "timeEpoch": round(now * 1000)}
