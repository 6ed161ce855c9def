"""Another try of the upstream: only before its first event, only while the caller can still be told otherwise."""

import time
from typing import Any

import httpx
import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import Api, StartApi
from tests.support.headwater import frames

BODY: dict[str, Any] = {"input": "Hello.", "max_tokens": 2000}


async def ask(api: Api, model: str, **fields: Any) -> tuple[httpx.Response, dict[str, Any]]:
    """The answer, and the completion as it is then in the store."""
    client = await api.client_with()
    response = await client.post("/v1/completions", json=BODY | {"model": model} | fields)
    (found,) = (await client.get("/v1/completions")).json()["data"]
    completion = (await client.get(f"/v1/completions/{found['id']}")).json()
    return response, completion


def gap(upstream: SimulatedUpstream) -> float:
    """Seconds between the first two tries."""
    first, second, *_ = upstream.requests
    return second.received_at - first.received_at


@pytest.mark.parametrize(
    "model",
    [
        "sim-409?times=1",
        "sim-500?times=1",
        "sim-504?times=1",
        "sim-429?times=1&retry_after=0",
        "sim-529?times=1&retry_after=0",
        "sim-reset?times=1",
        "sim-cut-first?times=1",
        "sim-error-first?times=1",
        "sim-end-mid?times=1&after=0",
        "sim-cut-mid-event?times=1&after=0",
    ],
)
async def test_a_fault_that_passes_is_not_told(start_api: StartApi, upstream: SimulatedUpstream, model: str) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20)
    response, completion = await ask(api, model)

    assert frames(response.text)[-1].data == "[DONE]"
    assert (completion["status"], completion["attempts"], completion["error"]) == ("completed", 2, None)
    assert len(upstream.requests) == 2
    first, second = upstream.requests
    assert first.body == second.body


async def test_silence_within_the_peek_is_tried_again(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20, first_event_timeout=1)
    response, completion = await ask(api, "sim-silence?times=1")

    assert frames(response.text)[-1].data == "[DONE]"
    assert completion["attempts"] == 2


@pytest.mark.parametrize("tries", [1, 3])
async def test_tries_end_with_the_setting(start_api: StartApi, upstream: SimulatedUpstream, tries: int) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20, max_retries=tries - 1)
    response, completion = await ask(api, "sim-529?retry_after=0")

    assert response.status_code == 529
    assert (completion["status"], completion["attempts"]) == ("failed", tries)
    assert len(upstream.requests) == tries


async def test_tries_are_as_far_apart_as_the_upstream_asks(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20)
    response, completion = await ask(api, "sim-429?times=1&retry_after=1.5")

    assert frames(response.text)[-1].data == "[DONE]"
    assert completion["attempts"] == 2
    assert gap(upstream) > 1.4


async def test_tries_without_an_order_are_a_little_apart(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20)
    await ask(api, "sim-500?times=1")

    assert gap(upstream) > 0.1


async def test_a_long_retry_after_is_told_at_once(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20)
    started = time.monotonic()
    response, completion = await ask(api, "sim-429?times=1&retry_after=21")

    assert (response.status_code, response.headers["retry-after"]) == (429, "21")
    assert time.monotonic() - started < 15
    assert (completion["status"], completion["attempts"]) == ("failed", 1)


async def test_a_part_of_a_second_of_retry_after_is_rounded_up(
    start_api: StartApi, upstream: SimulatedUpstream
) -> None:
    api = await start_api(upstream_base_url=upstream.url, max_retries=0)
    response, _ = await ask(api, "sim-529?retry_after=2.2")

    assert (response.status_code, response.headers["retry-after"]) == (529, "3")


@pytest.mark.parametrize("model", ["sim-error-mid", "sim-cut-mid-event", "sim-end-mid", "sim-malformed?after=0"])
async def test_what_has_begun_is_not_tried_again(start_api: StartApi, upstream: SimulatedUpstream, model: str) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20)
    _, completion = await ask(api, model)

    assert (completion["status"], completion["attempts"]) == ("failed", 1)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("model", ["sim-400", "sim-401", "sim-403", "sim-404", "sim-413", "sim-html"])
async def test_what_cannot_get_better_is_not_tried_again(
    start_api: StartApi, upstream: SimulatedUpstream, model: str
) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=20)
    await ask(api, model)

    assert len(upstream.requests) == 1


async def test_the_sdks_own_retries_are_off(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, max_retries=0)
    await ask(api, "sim-500")

    assert [request.headers["x-stainless-retry-count"] for request in upstream.requests] == ["0"]
