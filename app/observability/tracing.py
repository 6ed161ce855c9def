"""Spans, by whichever tracer is switched on; by default none, and then each of these calls is one look at a global."""

import functools
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from app.config import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[P, Coroutine[Any, Any, R]]


class TracingMissing(Exception):
    """The packages of the group `otel` (pyproject.toml) are not there."""


class Tracing(Protocol):
    """What a tracer has to be able to do. None of it raises. `provider` is for the framework's spans."""

    @property
    def provider(self) -> "TracerProvider | None": ...

    def span(self, name: str, parent: str | None) -> AbstractContextManager[object]:
        """A span within the current one, or within that of the `traceparent` header `parent`."""

    def apart(self) -> AbstractContextManager[object]:
        """In here, the current span is not."""

    def annotate(self, attributes: dict[str, Any]) -> None:
        """Put them on the current span."""

    def link(self, traceparent: str) -> None:
        """Say that the current span has to do with another trace."""

    def headers(self) -> dict[str, str]:
        """What tells another service of the current span."""

    def trace_id(self) -> str | None:
        """The current trace's."""

    def close(self) -> None:
        """Export what is left. Blocks."""


class _Off:
    provider = None

    def span(self, name: str, parent: str | None) -> AbstractContextManager[object]:
        return _NO_SPAN

    def apart(self) -> AbstractContextManager[object]:
        return _NO_SPAN

    def annotate(self, attributes: dict[str, Any]) -> None:
        pass

    def link(self, traceparent: str) -> None:
        pass

    def headers(self) -> dict[str, str]:
        return {}

    def trace_id(self) -> str | None:
        return None

    def close(self) -> None:
        pass


_NO_SPAN = nullcontext()
OFF: Tracing = _Off()
_current = OFF


def switch_on(settings: Settings) -> Tracing:
    """From now on, spans are made as `settings` have it; close what this gives back.

    Raises:
        TracingMissing: they ask for what is not installed.
    """
    global _current  # noqa: PLW0603 - as the tracers themselves have it: one a process
    _current = _chosen(settings)
    return _current


def _chosen(settings: Settings) -> Tracing:
    """The dear modules are imported only where they are used."""
    if settings.exports_traces:
        try:
            from app.observability.otel import OpenTelemetry
        except ImportError as exc:
            raise TracingMissing(f"OTEL_* asks for traces, and what sends them is not installed: {exc}") from None
        return OpenTelemetry(settings)
    if settings.xray:
        from app.observability.xray import XRay

        return XRay(settings.service_name)
    return OFF


Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def around_invocations(handler: Handler, settings: Settings) -> Handler:
    """`handler` of Lambda's own runtime, with a segment around each invocation where X-Ray is asked for."""
    if not settings.xray:
        return handler
    from app.observability.xray import traced_handler

    return traced_handler(handler, settings.service_name)


def tracing(name: str, *, parent: str | None = None) -> AbstractContextManager[object]:
    """A span around the block."""
    return _current.span(name, parent)


def traced(name: str) -> Callable[[Function[P, R]], Function[P, R]]:
    """A span around each call of a coroutine function."""

    def decorate(function: Function[P, R]) -> Function[P, R]:
        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with _current.span(name, None):
                return await function(*args, **kwargs)

        return call

    return decorate


def untraced() -> AbstractContextManager[object]:
    """For what a span happens to do that is not its own."""
    return _current.apart()


def annotate(**attributes: Any) -> None:
    """Put what is known on the current span, under our own name."""
    if _current is not OFF:
        _current.annotate({f"headwater.{name}": value for name, value in attributes.items() if value is not None})


def link(traceparent: str | None) -> None:
    """Tie the current span to the trace that `traceparent` is of."""
    if traceparent is not None:
        _current.link(traceparent)


def trace_headers() -> dict[str, str]:
    """The headers that carry the trace on to another service; none where nothing is traced."""
    return _current.headers()


def traceparent() -> str | None:
    """The current span as W3C's header of that name."""
    return _current.headers().get("traceparent")


def trace_id() -> str | None:
    return _current.trace_id()
