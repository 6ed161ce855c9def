"""Numbers: counted in the process, and told as CloudWatch's embedded metric format and to Prometheus.

Powertools' `Metrics` keeps its values in the class, so those of concurrent requests would be mixed: each line here is
an `EphemeralMetrics` of its own.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from aws_lambda_powertools.metrics import EphemeralMetrics

from app.config import Settings
from app.domain.errors import AppError
from app.observability.names import NAMESPACE, Metric, unit

Values = Mapping[Metric, float | None]


class Histograms(Protocol):
    def observe(self, values: Values, *, dialect: str, model: str) -> None:
        """One completion has ended."""


# Powertools prints a line and its end in two writes, and not before a buffer is full. Whatever the level of the log.
_lines: Final = logging.getLogger("headwater.metrics")


class Meter:
    """What has been counted since the process began, by what it was; and where numbers go."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Metric, str]] = Counter()
        self.histograms: Histograms | None = None
        self._home = ""
        self._emf = False

    def configure(self, settings: Settings) -> None:
        self._home = settings.home
        self._emf = settings.emits_emf
        _lines.handlers, _lines.propagate = [logging.StreamHandler(sys.stdout)], False
        _lines.setLevel(logging.INFO)
        self.histograms = None

    def count(self, metric: Metric, what: str = "") -> None:
        self.counts[metric, what] += 1

    def instance(self, values: Values, **dimensions: str) -> None:
        """Of this instance."""
        self._tell(values, dimensions, {})

    def completion(self, values: Values, properties: Mapping[str, Any], *, dialect: str, model: str) -> None:
        """Of one completion; what is None is not known and not told. `properties` are on the line and no metric."""
        self._tell(values, {"dialect": dialect, "model": model}, properties, of_home_too=True)
        if self.histograms is not None:
            self.histograms.observe(values, dialect=dialect, model=model)

    def _tell(
        self,
        values: Values,
        dimensions: Mapping[str, str],
        properties: Mapping[str, Any],
        *,
        of_home_too: bool = False,
    ) -> None:
        """With `of_home_too` also under the dimension home alone: CloudWatch does not add up over dimensions."""
        known = {metric: value for metric, value in values.items() if value is not None}
        if not self._emf or not known:
            return
        # Without a service of its own it would take one from the environment, as one more dimension.
        line = EphemeralMetrics(namespace=NAMESPACE, service="")
        line.service = ""
        for name, told in {"home": self._home, **dimensions}.items():
            line.add_dimension(name, told)
        if of_home_too:
            line.add_dimensions(home=self._home)
        for key, property in properties.items():
            line.add_metadata(key, property)
        for metric, value in known.items():
            line.add_metric(metric, unit(metric), value)
        _lines.info(json.dumps(line.serialize_metric_set(), separators=(",", ":")))


meter = Meter()


@contextmanager
def counted_refusals() -> Iterator[None]:
    """What is raised in here has refused an admission."""
    try:
        yield
    except AppError as exc:
        meter.count(Metric.ADMISSIONS_REFUSED, exc.code)
        raise
