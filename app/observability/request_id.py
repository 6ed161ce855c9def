"""What a request is called: as the platform calls it, where it does, so that one id finds what both say of it."""

import json
import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from app.domain.ids import uuid7

_CONTEXT: Final = "x-amzn-lambda-context"
_TRACE: Final = "x-amzn-trace-id"
_MADE_BY_X_RAY: Final = r"1-[0-9a-f]{8}-[0-9a-f]{24}"
_SELF: Final = re.compile(rf"(?:^|;)Self=({_MADE_BY_X_RAY})(?:;|$)")
_ROOT: Final = re.compile(rf"(?:^|;)Root=({_MADE_BY_X_RAY})(?:;|$)")


def request_id_of(scope: Scope, home: str) -> str:
    """The invocation's id on Lambda, the load balancer's on Fargate, else one of ours.

    Only there do these headers come from the platform; elsewhere anybody may have written them.
    """
    found = None
    if home == "lambda":
        found = _of_invocation(scope)
    elif home == "fargate":
        # A caller's own `Root` is passed on, beside a `Self` that is the load balancer's.
        trace = Headers(scope=scope).get(_TRACE, "")
        found = _first(_SELF, trace) or _first(_ROOT, trace)
    return found or f"req_{uuid7().hex}"


def platform_trace_of(scope: Scope, home: str) -> str | None:
    """The trace that the platform says that the request belongs to."""
    return _first(_ROOT, Headers(scope=scope).get(_TRACE, "")) if home != "local" else None


def _of_invocation(scope: Scope) -> str | None:
    if (context := scope.get("aws.context")) is not None:
        return str(context.aws_request_id)
    header = Headers(scope=scope).get(_CONTEXT)
    return str(json.loads(header)["request_id"]) if header is not None else None


def _first(pattern: re.Pattern[str], header: str) -> str | None:
    found = pattern.search(header)
    return found[1] if found else None
