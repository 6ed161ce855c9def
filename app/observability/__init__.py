"""What operators see: log lines, metrics and traces, the same in both homes.

The rest of the app names what happened and knows nothing of formats, exporters or homes. docs/operations.md says what
each name means.
"""

from app.observability.completions import Ended, completion_ended
from app.observability.context import annotate_with_keys, apart, arrive, arrived_at, bind, keys
from app.observability.logs import logger
from app.observability.metrics import counted_refusals, meter
from app.observability.minutes import Figures, Minutes, Worst
from app.observability.names import Metric
from app.observability.request_id import platform_trace_of, request_id_of
from app.observability.start import configure, name_instance, served_by, started, takes_start
from app.observability.tracing import (
    Tracing,
    TracingMissing,
    around_invocations,
    link,
    switch_on,
    trace_headers,
    trace_id,
    traced,
    traceparent,
    tracing,
)

__all__ = [
    "Ended",
    "Figures",
    "Metric",
    "Minutes",
    "Tracing",
    "TracingMissing",
    "Worst",
    "annotate_with_keys",
    "apart",
    "around_invocations",
    "arrive",
    "arrived_at",
    "bind",
    "completion_ended",
    "configure",
    "counted_refusals",
    "keys",
    "link",
    "logger",
    "meter",
    "name_instance",
    "platform_trace_of",
    "request_id_of",
    "served_by",
    "started",
    "switch_on",
    "takes_start",
    "trace_headers",
    "trace_id",
    "traced",
    "traceparent",
    "tracing",
]
