"""What is to be worked out: traffic and deployment, from a file of one's own numbers, what was measured, or both."""

from pathlib import Path

import msgspec

from compare.cost import cloudwatch, measured
from compare.cost.deployment import Deployment
from compare.cost.workload import Workload
from compare.results import Results


class PlanError(ValueError):
    """The file is no plan."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As in TOML: tables `traffic` and `deployment`, with what differs from the defaults."""

    traffic: Workload = msgspec.field(default_factory=Workload)
    deployment: Deployment = msgspec.field(default_factory=Deployment)


def plan(file: Path | None = None, results: Results | None = None, export: Path | None = None) -> Plan:
    """What was measured goes before what the file says, an export before a run.

    Raises:
        OSError: a file cannot be read.
        PlanError: the file is no plan.
        ExportError: the export is none, or is empty.
        ResultsError: no stream of the run came whole.
    """
    made = _read(file) if file else Plan()
    traffic, deployment = made.traffic, made.deployment
    if results is not None:
        traffic, deployment = measured.workload(results, traffic), measured.deployment(results, deployment)
    if export is not None:
        traffic = cloudwatch.workload(export, traffic)
    return Plan(traffic, deployment)


def _read(file: Path) -> Plan:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Plan)
    except msgspec.DecodeError as error:
        raise PlanError(f"{file}: {error}") from error
