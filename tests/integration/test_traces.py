"""One connected trace for each completion, from the front door to the upstream and the database."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from local.upstream import SimulatedUpstream
from tests.support import log_lines
from tests.support.collector import Collector, attributes
from tests.support.headwater import until
from tests.support.service import Service, StartService

PLAIN: Final[dict[str, Any]] = {"model": "claude-haiku-4-5", "input": "A planted prompt.", "max_tokens": 10}
CALLERS_TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN: Final = "b7ad6b7169203331"
W3C: Final = {"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"}
X_RAY: Final = {"x-amzn-trace-id": f"Root=1-{CALLERS_TRACE[:8]}-{CALLERS_TRACE[8:]};Parent={CALLERS_SPAN};Sampled=1"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def exporting_to(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.fixture
async def traced(start_service: StartService, collector: Collector) -> Service:
    return await start_service(environment=exporting_to(collector))


async def spans_of(collector: Collector, trace: str, *names: str) -> dict[str, Span]:
    """The spans of a trace by their names, once all of these are there."""

    def found() -> dict[str, Span]:
        return {span.name: span for span in collector.spans if span.trace_id.hex() == trace}

    await until(lambda: found().keys() >= set(names))
    return found()


@pytest.mark.parametrize("headers", [W3C, X_RAY], ids=["w3c", "x-ray"])
async def test_a_completion_is_one_trace(
    traced: Service, collector: Collector, upstream: SimulatedUpstream, headers: dict[str, str]
) -> None:
    async with traced.client() as client:
        response = await client.post("/v1/completions", json=PLAIN, headers=headers)
    spans = await spans_of(
        collector, CALLERS_TRACE, "POST /v1/completions", "admit", "completion", "upstream", "settle"
    )  # fmt: skip
    request, completion = spans["POST /v1/completions"], spans["completion"]
    assert request.parent_span_id.hex() == CALLERS_SPAN
    assert {spans["admit"].parent_span_id, completion.parent_span_id} == {request.span_id}
    assert {spans["upstream"].parent_span_id, spans["settle"].parent_span_id} == {completion.span_id}
    kinds = {name: span.kind for name, span in spans.items()}
    assert kinds["POST /v1/completions"] == Span.SPAN_KIND_SERVER
    assert kinds["upstream"] == kinds["settle"] == kinds["admit"] == Span.SPAN_KIND_CLIENT
    id, request_id = response.headers["x-completion-id"], response.headers["request-id"]
    for span in (request, completion):
        assert attributes(span)["headwater.completion_id"] == id
        assert attributes(span)["headwater.request_id"] == request_id
    assert attributes(completion)["headwater.output_tokens"] == 10
    # The upstream is told, in both ways.
    asked = upstream.requests[-1].headers
    _, trace, parent, sampled = asked["traceparent"].split("-")
    assert (trace, sampled) == (CALLERS_TRACE, "01")
    # The request was made ready before there was a generation.
    assert parent == request.span_id.hex()
    assert asked["x-amzn-trace-id"] == f"Root=1-{CALLERS_TRACE[:8]}-{CALLERS_TRACE[8:]};Parent={parent};Sampled=1"
    found = log_lines.lines(traced.log)
    assert log_lines.completions(found)[-1]["trace_id"] == log_lines.requests(found)[-1]["trace_id"] == CALLERS_TRACE
    assert {(each["service.name"], each["headwater.home"]) for each in collector.resources} == {("headwater", "local")}


async def test_each_completion_has_a_trace_of_its_own(traced: Service, collector: Collector) -> None:
    async with traced.client() as client:
        for _ in range(2):
            await client.post("/v1/completions", json=PLAIN)
    first, second = [line["trace_id"] for line in log_lines.completions(log_lines.lines(traced.log))]
    assert first != second
    for trace in (first, second):
        spans = await spans_of(collector, trace, "POST /v1/completions", "completion", "upstream", "settle")
        assert spans["POST /v1/completions"].parent_span_id == b""


async def test_a_reader_on_another_instance_is_linked(
    start_service: StartService, traced: Service, collector: Collector
) -> None:
    other = await start_service(environment=exporting_to(collector))
    async with traced.client() as client:
        made = await client.post("/v1/completions", json=PLAIN, headers=W3C)
    path = f"/v1/completions/{made.headers['x-completion-id']}/stream"
    async with other.client(traced.key) as client:
        await client.get(path, params={"after": 2})
    await until(lambda: collector.named("GET /v1/completions/{completion_id}/stream"))
    [span] = collector.named("GET /v1/completions/{completion_id}/stream")
    assert span.trace_id.hex() != CALLERS_TRACE
    assert [link.trace_id.hex() for link in span.links] == [CALLERS_TRACE]
    [link] = span.links
    spans = await spans_of(collector, CALLERS_TRACE, "admit")
    assert link.span_id == spans["admit"].span_id


async def test_errors_are_told_by_their_code(traced: Service, collector: Collector) -> None:
    async with traced.client() as client:
        await client.post("/v1/completions", json={**PLAIN, "model": "sim-400"}, headers=W3C)
    spans = await spans_of(collector, CALLERS_TRACE, "upstream", "completion")
    assert spans["upstream"].status.code == Status.STATUS_CODE_ERROR
    assert attributes(spans["upstream"])["error.type"] == "upstream_refused"
    assert not spans["upstream"].events


async def test_spans_have_no_secrets_and_no_contents(traced: Service, collector: Collector) -> None:
    async with traced.client() as client:
        made = await client.post("/v1/completions", json=PLAIN, headers=W3C)
        id = made.headers["x-completion-id"]
        token = (await client.post("/v1/tokens", json={"completion_id": id})).json()["token"]
    async with traced.client("none") as browser:
        read = await browser.get(f"/v1/completions/{id}/stream", params={"token": token})
    assert read.status_code == 200
    await until(lambda: collector.named("GET /v1/completions/{completion_id}/stream"))
    everything = repr(collector.spans)
    assert "REDACTED" in everything
    for planted in (token, traced.key, traced.admin_key, PLAIN["input"], "the-upstreams-own-key"):
        assert planted not in everything


async def test_probes_are_not_traced(traced: Service, collector: Collector) -> None:
    async with traced.client() as client:
        await client.get("/livez")
        await client.get("/v1/completions")
    await until(lambda: collector.named("GET /v1/completions"))
    assert not collector.named("GET /livez") + collector.named("GET /readyz")


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
async def test_nothing_is_traced_unless_the_standard_variables_say_so(
    start_service: StartService, collector: Collector, upstream: SimulatedUpstream, off: dict[str, str]
) -> None:
    service = await start_service(environment=exporting_to(collector) | off if off else {})
    async with service.client() as client:
        await client.post("/v1/completions", json=PLAIN, headers=W3C | X_RAY)
    assert not {"traceparent", "x-amzn-trace-id"} & upstream.requests[-1].headers.keys()
    service.terminate()
    assert await service.ended() == 0
    assert not collector.spans


async def test_a_collector_that_is_away_harms_nobody(start_service: StartService) -> None:
    service = await start_service(
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    )
    async with service.client() as client:
        response = await client.post("/v1/completions", json=PLAIN)
    assert response.text.endswith("data: [DONE]\n\n")
    service.terminate()
    assert await service.ended() == 0
