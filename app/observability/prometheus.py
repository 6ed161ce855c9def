"""The same numbers in Prometheus' form. The only importer of its client, and imported only where it is switched on."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from app.observability.metrics import Meter, Values
from app.observability.minutes import Figures
from app.observability.names import COUNTED, Metric

_LABELS: Final = ("dialect", "model")
_SECONDS: Final = {
    Metric.TIME_TO_FIRST_TOKEN: (
        "headwater_time_to_first_token_seconds",
        "From a request's arrival to the upstream's first event.",
        (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
    ),
    Metric.ADDED_TIME_TO_FIRST_TOKEN: (
        "headwater_added_time_to_first_token_seconds",
        "Of that, the part before the request was sent on.",
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
    ),
    Metric.STREAM_DURATION: (
        "headwater_stream_duration_seconds",
        "From a request's arrival to the end of its completion.",
        (1, 2.5, 5, 10, 20, 40, 80, 160, 320, 900),
    ),
}
_TOTALS: Final = {
    Metric.INPUT_TOKENS: ("headwater_input_tokens", "Tokens of input, those of the cache among them."),
    Metric.OUTPUT_TOKENS: ("headwater_output_tokens", "Tokens of output."),
    Metric.COST: ("headwater_cost_dollars", "What completions with a known price have cost."),
}
_COUNTS: Final = {
    Metric.ADMISSIONS_REFUSED: ("headwater_admissions_refused", "Requests that were not admitted."),
    Metric.UPSTREAM_ERRORS: ("headwater_upstream_errors", "Tries that the upstream refused or broke off."),
    Metric.RESUMES: ("headwater_resumes", "Readers of completions that another request had begun."),
    Metric.INTERRUPTIONS: ("headwater_interruptions", "Completions whose instance was stopped or lost."),
}


class Prometheus:
    """`look` gives the figures of the moment."""

    def __init__(self, meter: Meter, look: Callable[[], Figures]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._histograms = {
            metric: Histogram(name, says, _LABELS, buckets=buckets, registry=self._registry)
            for metric, (name, says, buckets) in _SECONDS.items()
        }
        self._totals = {
            metric: Counter(name, says, _LABELS, registry=self._registry) for metric, (name, says) in _TOTALS.items()
        }
        self._registry.register(_Instance(meter, look))
        meter.histograms = self

    def observe(self, values: Values, *, dialect: str, model: str) -> None:
        for metric, value in values.items():
            if value is None:
                continue
            if metric in self._histograms:
                self._histograms[metric].labels(dialect, model).observe(value / 1000)
            elif metric in self._totals:
                self._totals[metric].labels(dialect, model).inc(value)

    def page(self) -> bytes:
        return generate_latest(self._registry)


class _Instance(Collector):
    """What is read when somebody asks."""

    def __init__(self, meter: Meter, look: Callable[[], Figures]) -> None:
        self._meter = meter
        self._look = look

    def collect(self) -> Iterator[Family]:
        figures = self._look()
        yield GaugeMetricFamily("headwater_open_streams", "Completions that run here.", figures.open_streams)
        yield GaugeMetricFamily(
            "headwater_recorder_lag_seconds", "How long the last commit of events took.", figures.recorder_lag / 1000
        )
        yield GaugeMetricFamily(
            "headwater_recorder_backlog_bytes", "Events that wait to be committed.", figures.recorder_backlog
        )
        yield GaugeMetricFamily(
            "headwater_follower_lag_seconds", "Between the last two looks at other instances' logs.",
            figures.follower_lag / 1000,
        )  # fmt: skip
        yield CounterMetricFamily("headwater_database_requests", "Connections asked for.", figures.database_requests)
        yield CounterMetricFamily(
            "headwater_database_wait_seconds", "Waited for connections.", figures.database_wait / 1000
        )
        yield CounterMetricFamily(
            "headwater_database_usage_seconds", "Connections in use.", figures.database_usage / 1000
        )
        for metric, (name, says) in _COUNTS.items():
            yield self._counted(metric, name, says)

    def _counted(self, metric: Metric, name: str, says: str) -> Family:
        label = COUNTED[metric]
        family = CounterMetricFamily(name, says, labels=[label] if label else [])
        told = {what: number for (counted, what), number in self._meter.counts.items() if counted is metric}
        for what, number in told.items() if label or told else [("", 0)]:
            family.add_metric([what] if label else [], number)
        return family
