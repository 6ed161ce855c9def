"""The end of a completion: one log line and one set of metrics, by whoever has settled it."""

from typing import Any

import msgspec

from app.observability.context import keys
from app.observability.logs import logger
from app.observability.metrics import meter
from app.observability.names import OTHER, Metric, family
from app.observability.tracing import annotate


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What a completion came to; these are the keys of its log line. Times are milliseconds, `cost` US dollars.

    `ttft_ms` counts from the arrival of the request to the upstream's first event, `added_ttft_ms` to the moment at
    which it was first sent on. `readers` are those of this instance, `resumes` those of them that came later.
    """

    completion_id: str
    model: str
    status: str
    error: str | None = None
    stop_reason: str | None = None
    ttft_ms: float | None = None
    added_ttft_ms: float | None = None
    duration_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    tokens_per_second: float | None = None
    cost: float | None = None
    estimated: bool = False
    events: int = 0
    bytes: int = 0
    readers: int = 0
    resumes: int = 0
    attempts: int = 0


def completion_ended(ended: Ended) -> None:
    fields = msgspec.structs.asdict(ended)
    logger.info("completion", extra=fields)
    annotate(**fields)
    context = keys()
    meter.completion(
        {
            Metric.TIME_TO_FIRST_TOKEN: ended.ttft_ms,
            Metric.ADDED_TIME_TO_FIRST_TOKEN: ended.added_ttft_ms,
            Metric.STREAM_DURATION: ended.duration_ms,
            Metric.INPUT_TOKENS: ended.input_tokens,
            Metric.OUTPUT_TOKENS: ended.output_tokens,
            Metric.COST: ended.cost,
        },
        _names(ended, context),
        dialect=context.get("dialect", OTHER),
        # A name that the upstream never answered to may be anything.
        model=family(ended.model) if ended.ttft_ms is not None else OTHER,
    )


def _names(ended: Ended, context: dict[str, Any]) -> dict[str, Any]:
    """How the line of metrics is found from the log lines of the same completion."""
    names = {"completion_id": ended.completion_id, "request_id": context.get("request_id")}
    return {key: value for key, value in names.items() if value is not None}
