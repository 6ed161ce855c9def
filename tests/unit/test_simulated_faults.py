"""Every fault of the simulated upstream, as a client sees it."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from local.upstream import SimulatedUpstream
from local.upstream.faults import FAULTS

Json = dict[str, Any]
QUESTION = "Which way does the water go?"


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    async with SimulatedUpstream() as running:
        yield running


@pytest.fixture
async def client(upstream: SimulatedUpstream) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=upstream.url, headers={"x-api-key": "any"}, timeout=5) as connected:
        yield connected


@dataclass
class Seen:
    """What came over the wire: `reads` are HTTP chunks, `failure` is how it ended unless well."""

    status: int
    headers: httpx.Headers
    reads: list[bytes]
    failure: type[Exception] | None

    @property
    def body(self) -> bytes:
        return b"".join(self.reads)

    @property
    def events(self) -> list[Json]:
        """Whole events, read as the SSE specification says."""
        lines = re.split("\r\n|\n|\r", self.body.decode(errors="replace"))
        found, data = [], list[str]()
        for line in lines:
            if line.startswith("data: "):
                data.append(line.removeprefix("data: "))
            elif line == "" and data:
                found.append(json.loads("\n".join(data)))
                data = []
        return found

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


async def see(
    client: httpx.AsyncClient, spec: str, *, stream: bool = True, patience_s: float = 2, reads: int = 1_000_000
) -> Seen:
    """Ask with a fault in the metadata, so that the answer is that of `claude-sim`."""
    body = {
        "model": "claude-sim",
        "max_tokens": 500,
        "stream": stream,
        "metadata": {"user_id": spec},
        "messages": [{"role": "user", "content": QUESTION}],
    }
    async with client.stream("POST", "/v1/messages", json=body, timeout=patience_s) as answer:
        seen = Seen(answer.status_code, answer.headers, [], None)
        try:
            async for read in answer.aiter_raw():
                seen.reads.append(read)
                if len(seen.reads) == reads:
                    break
        except httpx.HTTPError as error:
            seen.failure = type(error)
    return seen


# --- Status ---


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
async def test_status_faults_have_the_apis_body(
    client: httpx.AsyncClient, status: int, kind: str, *, stream: bool
) -> None:
    seen = await see(client, f"sim-{status}?retry_after=7", stream=stream)
    told = json.loads(seen.body)
    assert seen.status == status
    assert told["error"]["type"] == kind
    assert told["request_id"] == seen.headers["request-id"]
    assert seen.headers.get("retry-after") == ("7" if status in (429, 529) else None)


# --- Late or never ---


async def test_slow_first_byte_holds_the_headers_back(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await see(client, "sim-slow-first-byte", patience_s=0.1)
    assert (await see(client, "sim-slow-first-byte?first_ms=100")).types[-1] == "message_stop"


async def test_slow_first_event_sends_the_headers_at_once(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-slow-first-event", patience_s=0.1)
    assert (seen.status, seen.body, seen.failure) == (200, b"", httpx.ReadTimeout)
    started = time.monotonic()
    assert (await see(client, "sim-slow-first-event?first_ms=100")).types[-1] == "message_stop"
    assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize(
    ("spec", "events"), [("sim-silence", 0), ("sim-silence-mid", 5), ("sim-silence-mid?after=9", 9)]
)
async def test_silence_begins_after_the_events_asked_for(client: httpx.AsyncClient, spec: str, events: int) -> None:
    seen = await see(client, spec, patience_s=0.1)
    assert (seen.status, len(seen.events), seen.failure) == (200, events, httpx.ReadTimeout)


async def test_endless_stream_goes_on_with_text(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-endless", reads=2000)
    assert seen.types[:3] == ["message_start", "content_block_start", "ping"]
    assert set(seen.types[3:]) == {"content_block_delta"}
    assert len(seen.types) > 1000


# --- Ended cleanly, too soon ---


async def test_error_first_is_the_only_event(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-error-first")
    [event] = seen.events
    assert (seen.status, seen.failure) == (200, None)
    assert event["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert event["request_id"] == seen.headers["request-id"]


@pytest.mark.parametrize("after", [1, 4, 300])
async def test_error_mid_comes_after_the_events_asked_for(client: httpx.AsyncClient, after: int) -> None:
    seen = await see(client, f"sim-error-mid?after={after}")
    assert len(seen.events) == after + 1
    assert seen.types[-1] == "error"
    assert not {"error", "message_delta", "message_stop"} & set(seen.types[:-1])
    assert seen.failure is None


async def test_end_mid_ends_cleanly_inside_the_text(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-end-mid")
    assert (len(seen.events), seen.types[-1], seen.failure) == (5, "content_block_delta", None)


async def test_no_stop_leaves_out_only_the_last_event(client: httpx.AsyncClient) -> None:
    whole, seen = await see(client, "sim-ok"), await see(client, "sim-no-stop")
    assert whole.types[-1] == "message_stop"
    assert (seen.events, seen.failure) == (whole.events[:-1], None)


# --- The connection breaks ---


async def test_reset_comes_before_any_byte(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadError):
        await see(client, "sim-reset")


async def test_cut_first_comes_after_the_headers(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-cut-first")
    assert (seen.status, seen.body, seen.failure) == (200, b"", httpx.RemoteProtocolError)


@pytest.mark.parametrize("after", [0, 7, 100])
async def test_cut_mid_event_tears_the_next_event(client: httpx.AsyncClient, after: int) -> None:
    whole = await see(client, f"sim-ok?after={after}")
    seen = await see(client, f"sim-cut-mid-event?after={after}")
    assert seen.events == whole.events[:after]
    assert not seen.body.endswith(b"\n\n")
    assert whole.body.startswith(seen.body)
    assert seen.failure is httpx.RemoteProtocolError


async def test_cut_mid_character_ends_inside_a_character(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-cut-mid-character")
    assert len(seen.events) == 5
    with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
        seen.body.decode()
    assert seen.failure is httpx.RemoteProtocolError


# --- What is no event stream, or not all of it ---


async def test_malformed_event_stands_among_good_ones(client: httpx.AsyncClient) -> None:
    whole, seen = await see(client, "sim-ok"), await see(client, "sim-malformed")
    blocks = seen.body.split(b"\n\n")
    assert b"\n\n".join(blocks[:5] + blocks[6:]) == whole.body
    with pytest.raises(json.JSONDecodeError):
        json.loads(blocks[5].partition(b"data: ")[2])


async def test_bad_utf8_stands_inside_a_text_delta(client: httpx.AsyncClient) -> None:
    whole, seen = await see(client, "sim-ok"), await see(client, "sim-bad-utf8")
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        seen.body.decode()
    assert seen.events[5]["delta"] == {"type": "text_delta", "text": "word \ufffd"}
    assert seen.events[:5] + seen.events[6:] == whole.events


async def test_html_is_no_event_stream(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-html")
    assert (seen.status, seen.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert seen.body.startswith(b"<!DOCTYPE html>")


# --- Unusual and right ---


@pytest.mark.parametrize("fault", ["crlf", "multi-line", "tiny-reads", "one-read"])
async def test_unusual_streams_say_the_same(client: httpx.AsyncClient, fault: str) -> None:
    whole, seen = await see(client, "sim-ok"), await see(client, f"sim-{fault}")
    assert seen.events == whole.events
    assert (seen.body != whole.body) == (fault in ("crlf", "multi-line"))


async def test_unusual_streams_are_unusual(client: httpx.AsyncClient) -> None:
    crlf, lines, tiny, one = [
        await see(client, f"sim-{fault}") for fault in ("crlf", "multi-line", "tiny-reads", "one-read")
    ]
    assert b"\n" not in crlf.body.replace(b"\r\n", b"")
    assert lines.body.count(b"\ndata: ") == 2 * len(lines.events)
    assert all(len(read) == 1 for read in tiny.reads)
    assert len(one.reads) == 1


async def test_batch_puts_events_into_one_write(client: httpx.AsyncClient) -> None:
    seen = await see(client, "sim-ok?tokens=14&batch=10")
    assert [read.count(b"\n\n") for read in seen.reads] == [10, 10]


# --- Without a stream ---


async def test_every_fault_has_a_meaning_without_a_stream(client: httpx.AsyncClient) -> None:
    whole = (await see(client, "sim-ok", stream=False)).body
    told: dict[str, str] = {}
    for fault in FAULTS:
        try:
            seen = await see(client, f"sim-{fault}?first_ms=20", stream=False, patience_s=0.2, reads=1500)
        except httpx.ReadError:
            told[fault] = "reset"
        else:
            told[fault] = _outcome(seen, whole)
    assert told == {
        **dict.fromkeys(("ok", "slow-first-byte", "slow-first-event"), "whole"),
        **dict.fromkeys(("crlf", "multi-line", "tiny-reads", "one-read"), "whole"),
        **dict.fromkeys(("silence", "silence-mid"), "ReadTimeout"),
        **dict.fromkeys(("cut-first", "cut-mid-event", "cut-mid-character"), "RemoteProtocolError"),
        **dict.fromkeys(("error-first", "error-mid"), "529"),
        **dict.fromkeys(("end-mid", "no-stop", "malformed", "bad-utf8", "html", "endless"), "no JSON"),
        "reset": "reset",
    }


def _outcome(seen: Seen, whole: bytes) -> str:
    if seen.failure:
        return seen.failure.__name__
    if seen.status != 200:
        return str(seen.status)
    return "whole" if seen.body == whole else _is_json(seen.body)


def _is_json(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "no JSON"
    return "another message"


# --- Directives ---


async def test_fault_with_times_is_over_after_them(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    statuses = [(await see(client, "sim-529?times=2&tokens=3")).status for _ in range(3)]
    assert statuses == [529, 529, 200]
    upstream.forget()
    assert (await see(client, "sim-529?times=2&tokens=3")).status == 529


async def test_times_are_counted_by_key(client: httpx.AsyncClient) -> None:
    specs = ("sim-500?times=1&key=a", "sim-429?times=1&key=a", "sim-500?times=1&key=b")
    assert [(await see(client, spec)).status for spec in specs] == [500, 200, 500]


async def test_fault_of_a_stream_can_pass_as_well(client: httpx.AsyncClient) -> None:
    first, second = [await see(client, "sim-cut-first?times=1") for _ in range(2)]
    assert first.failure is httpx.RemoteProtocolError
    assert (second.failure, second.types[-1]) == (None, "message_stop")


@pytest.mark.parametrize(
    "spec", ["sim-ok?tokns=5", "sim-ok?tokens=many", "sim-ok?tokens=-1", "sim-ok?tokens", "sim-nothing"]
)
async def test_wrong_directives_are_refused_by_name(client: httpx.AsyncClient, spec: str) -> None:
    seen = await see(client, spec)
    assert seen.status == 400
    assert spec.removeprefix("sim-").partition("?")[0] in json.loads(seen.body)["error"]["message"]


async def test_many_streams_run_side_by_side(upstream: SimulatedUpstream) -> None:
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=upstream.url, headers={"x-api-key": "any"}, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(see(client, "sim-ok?tokens=10&rate=50")) for _ in range(50)]
    assert all(task.result().types[-1] == "message_stop" for task in tasks)
