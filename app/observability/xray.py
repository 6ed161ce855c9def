"""Spans of AWS X-Ray, by Powertools' Tracer: where Lambda's own runtime calls the application, one request at a time.

Only there: the SDK keeps its open segments in a context that requests of one event loop would share, and knows its
trace by a variable of the environment, which only that runtime sets. The one importer of the SDK, which is dear.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from aws_lambda_powertools import Tracer

from app.observability.tracing import Handler

_SHOWN: Final = ("headwater.completion_id", "headwater.request_id", "headwater.status")


class XRay:
    """Spans become subsegments of the invocation's segment."""

    provider = None

    def __init__(self, service: str) -> None:
        self._tracer = Tracer(service=service, auto_patch=False)
        self._provider: Any = self._tracer.provider  # Powertools' type of it has half of its methods

    @contextmanager
    def span(self, name: str, parent: str | None) -> Iterator[None]:
        """The SDK's own would keep an exception's words and its stack, which may be a caller's own."""
        subsegment = self._provider.begin_subsegment(name)
        try:
            yield
        except Exception:
            if subsegment is not None:
                subsegment.add_fault_flag()
            raise
        finally:
            self._provider.end_subsegment()

    def apart(self) -> AbstractContextManager[None]:
        """There is always one: what is told in here has one of its own."""
        return self.span("apart", None)

    def annotate(self, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            if name in _SHOWN:  # what one searches for
                self._tracer.put_annotation(name.replace(".", "_"), str(value))
            else:
                self._tracer.put_metadata(name, value)

    def link(self, traceparent: str) -> None:
        self._tracer.put_metadata("headwater.linked", traceparent)

    def headers(self) -> dict[str, str]:
        entity = self._provider.get_trace_entity()
        if entity is None:
            return {}
        root, sampled = entity.trace_id, int(bool(entity.sampled))
        return {
            "x-amzn-trace-id": f"Root={root};Parent={entity.id};Sampled={sampled}",
            "traceparent": f"00-{root[2:].replace('-', '')}-{entity.id}-0{sampled}",
        }

    def trace_id(self) -> str | None:
        return None  # the logger has it already

    def close(self) -> None:
        pass


def traced_handler(handler: Handler, service: str) -> Handler:
    """`handler` with a span of its own, which tells of a cold start."""
    tracer = Tracer(service=service, auto_patch=False)
    traced: Handler = tracer.capture_lambda_handler(handler, capture_response=False, capture_error=False)
    return traced
