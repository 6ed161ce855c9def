"""Spans of OpenTelemetry, sent to a collector. The only importer of its SDK, and imported only where it is used.

The standard variables say where to and how much (OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER, OTEL_BSP_*,
OTEL_RESOURCE_ATTRIBUTES): the SDK reads them itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.config import Settings
from app.domain.errors import AppError
from app.observability.names import SPAN_KINDS

_QUERY: Final = "url.query"
_w3c: Final = TraceContextTextMapPropagator()


class OpenTelemetry:
    """`provider` makes the spans; the framework's too."""

    def __init__(self, settings: Settings) -> None:
        named = Resource({"service.name": settings.service_name, "service.version": __version__})
        self.provider = TracerProvider(
            resource=named.merge(Resource({"headwater.home": settings.home})).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(_WithoutQueries())
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer("headwater", __version__)
        if settings.otel_propagators is None:
            # W3C's is read last, so it counts where a caller sends both. No baggage: it is not for our upstream.
            set_global_textmap(CompositePropagator([AwsXRayPropagator(), _w3c]))

    @contextmanager
    def span(self, name: str, parent: str | None) -> Iterator[None]:
        """The tracer's own context keeps an exception's words and stack, which may be a caller's, and takes longer."""
        context = _w3c.extract({"traceparent": parent}, Context()) if parent is not None else None
        kind = SpanKind.CLIENT if name in SPAN_KINDS else SpanKind.INTERNAL
        span = self._tracer.start_span(name, context, kind, SPAN_KINDS.get(name))
        token = attach(trace.set_span_in_context(span))
        try:
            yield
        except Exception as exc:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", exc.code if isinstance(exc, AppError) else type(exc).__name__)
            raise
        finally:
            detach(token)
            span.end()

    @contextmanager
    def apart(self) -> Iterator[None]:
        token = attach(Context())
        try:
            yield
        finally:
            detach(token)

    def annotate(self, attributes: dict[str, Any]) -> None:
        trace.get_current_span().set_attributes(attributes)

    def link(self, traceparent: str) -> None:
        other = trace.get_current_span(_w3c.extract({"traceparent": traceparent}, Context())).get_span_context()
        if other.is_valid:
            trace.get_current_span().add_link(other)

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        get_global_textmap().inject(headers)
        return headers

    def trace_id(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def close(self) -> None:
        self.provider.shutdown()


class _WithoutQueries(SpanProcessor):
    """A browser token travels in the query, which the framework would put on its span."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and _QUERY in span.attributes:
            span.set_attribute(_QUERY, "REDACTED")
