"""The one list of what is measured. Log keys are those of the lines in docs/schemas/log-line.json."""

import re
from enum import StrEnum
from typing import Final

NAMESPACE: Final = "Headwater"


class Metric(StrEnum):
    """By the names that CloudWatch has them under."""

    # Of a completion, with the dimensions home, dialect and model.
    TIME_TO_FIRST_TOKEN = "TimeToFirstToken"
    ADDED_TIME_TO_FIRST_TOKEN = "AddedTimeToFirstToken"
    STREAM_DURATION = "StreamDuration"
    INPUT_TOKENS = "InputTokens"
    OUTPUT_TOKENS = "OutputTokens"
    COST = "Cost"
    # Of an instance, with the dimension home; refusals and errors also by what they were.
    OPEN_STREAMS = "OpenStreams"
    ADMISSIONS_REFUSED = "AdmissionsRefused"
    UPSTREAM_ERRORS = "UpstreamErrors"
    RECORDER_LAG = "RecorderLag"
    RECORDER_BACKLOG = "RecorderBacklog"
    FOLLOWER_LAG = "FollowerLag"
    DATABASE_WAIT = "DatabaseWait"
    POOL_IN_USE = "PoolInUse"
    RESUMES = "Resumes"
    INTERRUPTIONS = "Interruptions"
    # Of a process, once.
    COLD_START = "ColdStart"
    RESTORE_TIME = "RestoreTime"


# What is no number of things; CloudWatch knows no currencies.
UNITS: Final = {
    Metric.TIME_TO_FIRST_TOKEN: "Milliseconds",
    Metric.ADDED_TIME_TO_FIRST_TOKEN: "Milliseconds",
    Metric.STREAM_DURATION: "Milliseconds",
    Metric.COST: "None",
    Metric.RECORDER_LAG: "Milliseconds",
    Metric.RECORDER_BACKLOG: "Bytes",
    Metric.FOLLOWER_LAG: "Milliseconds",
    Metric.DATABASE_WAIT: "Milliseconds",
    Metric.RESTORE_TIME: "Milliseconds",
}
# Those that are counted, and what tells them apart.
COUNTED: Final = {
    Metric.ADMISSIONS_REFUSED: "reason",
    Metric.UPSTREAM_ERRORS: "kind",
    Metric.RESUMES: None,
    Metric.INTERRUPTIONS: None,
}

# Spans of calls to others, with what OpenTelemetry's conventions have on them.
SPAN_KINDS: Final[dict[str, dict[str, str]]] = {
    "admit": {"db.system.name": "postgresql", "db.operation.name": "admit"},
    "settle": {"db.system.name": "postgresql", "db.operation.name": "record"},
    "upstream": {"gen_ai.provider.name": "anthropic", "gen_ai.operation.name": "chat"},
}

OTHER: Final = "other"
_FAMILY: Final = re.compile(r"(?:[a-z0-9-]+\.)*claude-(?:[0-9][0-9.]*-)*(?P<name>[a-z]{1,20})(?![a-z])")


def unit(metric: Metric) -> str:
    return UNITS.get(metric, "Count")


def family(model: str) -> str:
    """What a model is counted under: `claude-haiku` for all its versions and addresses, `other` for what is no Claude.

    Each value of a dimension is a metric of its own, which is paid for; and callers choose names.
    """
    found = _FAMILY.match(model)
    return f"claude-{found['name']}" if found else OTHER
