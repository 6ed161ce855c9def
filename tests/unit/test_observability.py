"""Names of requests, families of models, and what is told of traces where the platform tells of them."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from app.observability import platform_trace_of, request_id_of
from app.observability.names import COUNTED, Metric, family, unit
from tests.support.service import ROOT

SELF = "1-67891234-12456789abcdef0123456789"
CALLERS = "1-67891233-abcdef012345678912345678"
CONTEXT = json.dumps({"request_id": "8f507cfc-xmpl-4697-b07a-ac58fc914c95", "deadline": 1})


def scope(**headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw}


@pytest.mark.parametrize(
    ("home", "headers", "expected"),
    [
        ("lambda", {"x_amzn_lambda_context": CONTEXT}, "8f507cfc-xmpl-4697-b07a-ac58fc914c95"),
        ("fargate", {"x_amzn_trace_id": f"Self={SELF};Root={CALLERS}"}, SELF),
        ("fargate", {"x_amzn_trace_id": f"Root={CALLERS}"}, CALLERS),
        ("fargate", {"x_amzn_trace_id": f"Root={CALLERS};Parent=53995c3f42cd8ad8;Sampled=1"}, CALLERS),
        # What is none, and what somebody else has written.
        ("lambda", {}, None),
        ("lambda", {"x_amzn_trace_id": f"Root={CALLERS}"}, None),
        ("fargate", {"x_amzn_lambda_context": CONTEXT}, None),
        ("fargate", {"x_amzn_trace_id": "Root=1-forged"}, None),
        ("fargate", {"x_amzn_trace_id": f"Root={CALLERS}\nlevel=ERROR"}, None),
        ("fargate", {"x_amzn_trace_id": f"xRoot={CALLERS}"}, None),
        ("local", {"x_amzn_trace_id": f"Root={CALLERS}", "x_amzn_lambda_context": CONTEXT}, None),
    ],
)
def test_a_request_is_called_as_its_own_platform_calls_it(
    home: str, headers: dict[str, str], expected: str | None
) -> None:
    id = request_id_of(scope(**headers), home)
    assert id == expected if expected is not None else id.startswith("req_")


def test_an_invocation_without_adapter_has_its_id_in_its_context() -> None:
    invoked = scope() | {"aws.context": SimpleNamespace(aws_request_id="the-id")}
    assert request_id_of(invoked, "lambda") == "the-id"


def test_ids_of_ours_are_new_ones() -> None:
    assert len({request_id_of(scope(), "local") for _ in range(100)}) == 100


def test_the_platforms_trace_is_believed_on_platforms() -> None:
    header = scope(x_amzn_trace_id=f"Root={CALLERS}")
    assert [platform_trace_of(header, home) for home in ("local", "fargate", "lambda")] == [None, CALLERS, CALLERS]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-haiku-4-5", "claude-haiku"),
        ("claude-haiku-4-5-20251001", "claude-haiku"),
        ("claude-3-5-sonnet-20241022", "claude-sonnet"),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "claude-haiku"),
        ("gpt-4o", "other"),
        ("claude-", "other"),
        ("claude-" + "x" * 30, "other"),
        ("my claude-haiku", "other"),
        ("", "other"),
    ],
)
def test_families(model: str, expected: str) -> None:
    assert family(model) == expected


def test_units_are_cloudwatchs() -> None:
    assert {unit(metric) for metric in Metric} == {"Milliseconds", "Bytes", "Count", "None"}
    assert all(metric in Metric for metric in COUNTED)


def test_the_document_explains_every_metric() -> None:
    said = (ROOT / "docs" / "operations.md").read_text()
    assert [metric for metric in Metric if f"`{metric}`" not in said] == []


def test_nothing_of_a_tracer_is_imported_before_it_is_switched_on() -> None:
    code = (
        "import sys; from app.config import Settings; from app.main import create_app; create_app(Settings());"
        "print(*[name for name in ('opentelemetry.sdk', 'aws_xray_sdk', 'prometheus_client') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []
