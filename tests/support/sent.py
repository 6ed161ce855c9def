"""Requests of which no two are alike, and what their lines have to say: whose values are mixed up shows."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from app.observability.names import Metric, family
from tests.support import log_lines
from tests.support.log_lines import Line

DIALECTS: Final = {
    "/v1/completions": "plain",
    "/v1/messages": "anthropic_messages",
    "/v1/chat/completions": "openai_chat",
    "/v1/responses": "openai_responses",
}
# Of every completion that ended well, in any home.
KEYS: Final = {
    "level",
    "location",
    "message",
    "timestamp",
    "service",
    "home",
    "instance",
    "init_type",
    "cold_start",
    "request_id",
    "dialect",
    "tenant",
    "key_id",
    "completion_id",
    "model",
    "status",
    "stop_reason",
    "ttft_ms",
    "added_ttft_ms",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "tokens_per_second",
    "cost",
    "estimated",
    "events",
    "bytes",
    "readers",
    "resumes",
    "attempts",
}
# Where the platform has one, and as it is called there: the second by Lambda's own runtime.
_TRACES: Final = {"trace_id", "xray_trace_id"}


@dataclass
class Sent:
    """A request that was answered, and what its lines have to say."""

    tenant: str
    dialect: str
    model: str
    request_id: str
    completion_id: str
    bytes: int


Post = Callable[..., Awaitable[httpx.Response]]


async def ask(
    post: Post,
    tenant: str,
    number: int,
    headers: Mapping[str, str] | None = None,
    *,
    stream: bool = True,
    rate: int = 100,
) -> Sent:
    """Have `post`, a client's with a key of `tenant`, ask for an answer and read it; `number` is nobody else's.

    Half of the answers come at `rate` tokens a second.
    """
    path, dialect = list(DIALECTS.items())[number % len(DIALECTS)]
    # Prompts of a length and answers of as many tokens as nobody else's; and some that have a price.
    model = f"claude-haiku-4-5?{number}" if number % 2 else f"sim-ok?tokens={20 + number}&rate={rate}&first_ms=0"
    said: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "max_tokens": 1000,
        "input": f"The prompt of number {number}",
    }
    if dialect in ("anthropic_messages", "openai_chat"):
        said["messages"] = [{"role": "user", "content": said.pop("input")}]
    if dialect == "openai_responses":
        said["max_output_tokens"] = said.pop("max_tokens")
    response = await post(path, json=said, headers=headers)
    assert response.status_code == 200, response.text
    return Sent(
        tenant, dialect, model, response.headers["request-id"], response.headers["x-completion-id"],
        len(response.content),
    )  # fmt: skip


def check_sent(found: list[Line], sent: list[Sent], usages: Mapping[str, dict[str, Any]]) -> None:
    """That each request has one line, one of its completion and one of metrics, with its own values alone.

    `usages` is what the upstream told, by the model.
    """
    for each in sent:
        [line] = [line for line in log_lines.requests(found) if line["request_id"] == each.request_id]
        check_request(line, each)
        [line] = [line for line in log_lines.completions(found) if line["request_id"] == each.request_id]
        check_completion(line, each, usages[each.model])
        check_metrics(line, [line for line in found if log_lines.is_metrics(line)])
    assert len(log_lines.completions(found)) == len(sent)


def check_request(line: Line, sent: Sent) -> None:
    names = {name: line[name] for name in ("tenant", "dialect", "model", "completion_id", "bytes")}
    assert names == {name: getattr(sent, name) for name in names}
    assert (line["method"], DIALECTS[line["route"]], line["http_status"]) == ("POST", sent.dialect, 200)


def check_completion(line: Line, sent: Sent, usage: dict[str, Any]) -> None:
    priced = sent.model.startswith("claude-haiku")
    assert line.keys() - _TRACES == (KEYS if priced else KEYS - {"cost"})
    names = {name: line[name] for name in ("tenant", "dialect", "model", "completion_id")}
    assert names == {name: getattr(sent, name) for name in names}
    assert line["status"] == "completed"
    assert (line["input_tokens"], line["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])
    assert 0 < line["added_ttft_ms"] <= line["ttft_ms"] <= line["duration_ms"]
    assert (line["readers"], line["resumes"], line["attempts"]) == (1, 0, 1)


def check_metrics(line: Line, found: list[Line]) -> None:
    [metrics] = [each for each in found if each.get("completion_id") == line["completion_id"]]
    assert (metrics["home"], metrics["dialect"], metrics["model"]) == (
        line["home"],
        line["dialect"],
        family(line["model"]),
    )
    assert metrics["request_id"] == line["request_id"]
    assert "tenant" not in metrics
    for metric, key in {
        Metric.TIME_TO_FIRST_TOKEN: "ttft_ms",
        Metric.ADDED_TIME_TO_FIRST_TOKEN: "added_ttft_ms",
        Metric.STREAM_DURATION: "duration_ms",
        Metric.INPUT_TOKENS: "input_tokens",
        Metric.OUTPUT_TOKENS: "output_tokens",
        Metric.COST: "cost",
    }.items():
        assert metrics.get(metric) == ([line[key]] if key in line else None)
