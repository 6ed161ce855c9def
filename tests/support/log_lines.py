"""The lines of a service's log: held to their schemas, and searched for what must never be in them."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from app.observability.names import NAMESPACE, UNITS, Metric
from local.upstream import RecordedRequest
from local.upstream.speech import SENTENCES

Line = dict[str, Any]

_SCHEMAS: Final = Path(__file__).parents[2] / "docs" / "schemas"
LOG_SCHEMA: Final = json.loads((_SCHEMAS / "log-line.json").read_text())
_log_line: Final = jsonschema_rs.validator_for(LOG_SCHEMA)
_metrics_line: Final = jsonschema_rs.validator_for(json.loads((_SCHEMAS / "metrics-line.json").read_text()))
# Whatever is one by its form, and what the tests' services have for the upstream.
_SECRETS: Final = re.compile(r"hwt?_[A-Za-z0-9_-]{20,}|the-upstreams-own-key")
# Shorter words may be anybody's.
_TELLING: Final = 12
_DIMENSIONS: Final = {"home", "dialect", "model", "reason", "kind"}


def lines(log: Path) -> list[Line]:
    """All whole ones: of a process that was killed, the last may be cut. One that does not start says why in words."""
    whole = log.read_text(errors="replace").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines() if not line.startswith("Setting ")]


def is_metrics(line: Line) -> bool:
    return "_aws" in line


def requests(found: Iterable[Line]) -> list[Line]:
    return [line for line in found if line.get("message") == "request"]


def completions(found: Iterable[Line]) -> list[Line]:
    return [line for line in found if line.get("message") == "completion"]


def metrics(found: Iterable[Line], *dimensions: str) -> list[Line]:
    """Lines of metrics with these dimensions, and perhaps under fewer of them too."""
    return [line for line in found if is_metrics(line) and _told(line)["Dimensions"][0] == list(dimensions)]


def value(line: Line, metric: Metric) -> float:
    [number] = line[metric]
    return float(number)


def check(line: Line) -> None:
    """That it is in its form.

    Raises:
        AssertionError, jsonschema_rs.ValidationError: it is not.
    """
    if not is_metrics(line):
        _log_line.validate(line)
        return
    _metrics_line.validate(line)
    told = _told(line)
    assert told["Namespace"] == NAMESPACE
    for dimension in chain.from_iterable(told["Dimensions"]):
        assert dimension in _DIMENSIONS, line
        assert isinstance(line[dimension], str), line
    for metric in told["Metrics"]:
        assert metric["Unit"] == UNITS.get(Metric(metric["Name"]), "Count"), line
        assert value(line, metric["Name"]) >= 0, line


def _told(line: Line) -> Any:
    [told] = line["_aws"]["CloudWatchMetrics"]
    return told


def check_logs(folder: Path, asked: Iterable[RecordedRequest] = ()) -> None:
    """That all lines of the services' logs in `folder` are in their form and have nothing of what they must not have.

    `asked` is what the upstream was asked on their behalf.
    """
    prompts = {text for request in asked for text in _texts(request.body)}
    for log in folder.glob("service-*.log"):
        for line in lines(log):
            check(line)
        text = log.read_text(errors="replace")
        assert not _SECRETS.search(text), f"{log} has a secret"
        for planted in (*SENTENCES, *prompts):
            assert planted not in text, f"{log} has {planted!r}"


def _texts(body: Any) -> Iterator[str]:
    """What a prompt says: every string of a request but for the names in it."""
    match body:
        case dict():
            for key, part in body.items():
                if key not in ("model", "role", "type"):
                    yield from _texts(part)
        case list():
            for part in body:
                yield from _texts(part)
        case str() if len(body) >= _TELLING:
            yield body
