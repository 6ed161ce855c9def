"""Every fault of the simulated upstream in Chat Completions, streamed and not: no end hides a cut.

All cases are played at once, since some have to wait; each test then looks at one of them.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.upstream.errors import KINDS
from local.upstream.faults import FAULTS
from tests.conftest import LOGS
from tests.support.headwater import Headwater, frames, running
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Refused:
    """Told by the HTTP status, because nothing had come."""

    status: int
    type: str
    code: str | None
    retry_after: str | None = None


@dataclass(frozen=True)
class Broken:
    """Told by a chunk, because something had come; by this status where the answer comes in one piece."""

    status: int
    type: str
    code: str


@dataclass(frozen=True)
class Whole:
    finish_reason: str = "stop"


SERVER, REQUEST = "server_error", "invalid_request_error"
CREDENTIALS = Refused(502, SERVER, "upstream_credentials")
FAILED = Refused(502, SERVER, "upstream_error")
UNREADABLE = Refused(502, SERVER, "upstream_malformed")
UNREACHABLE = Refused(502, SERVER, "upstream_connection")
TRUNCATED = Refused(502, SERVER, "upstream_truncated")
OVERLOADED = Refused(503, SERVER, "overloaded")
LATE = Refused(504, SERVER, "upstream_timeout")
CUT = Broken(502, SERVER, "upstream_connection")
MALFORMED = Broken(502, SERVER, "upstream_malformed")

OUTCOMES: dict[str, Refused | Broken | Whole] = {
    # An HTTP status of the upstream.
    "sim-400": Refused(400, REQUEST, None),
    "sim-401": CREDENTIALS,
    "sim-402": FAILED,
    "sim-403": CREDENTIALS,
    "sim-404": Refused(404, REQUEST, "model_not_found"),
    "sim-405": FAILED,
    "sim-409": FAILED,
    "sim-413": Refused(413, REQUEST, None),
    "sim-429?retry_after=77": Refused(429, "rate_limit_error", "rate_limit_exceeded", retry_after="77"),
    "sim-500": FAILED,
    "sim-504": LATE,
    "sim-529?retry_after=77": Refused(503, SERVER, "overloaded", retry_after="77"),
    # Late or never.
    "sim-slow-first-byte": Whole(),
    "sim-slow-first-event": Whole(),
    "sim-silence": LATE,
    "sim-silence-mid?after=0": LATE,
    "sim-silence-mid": Broken(504, SERVER, "upstream_timeout"),
    "sim-endless": Broken(504, SERVER, "stream_limit"),
    # Ended too soon.
    "sim-error-first": OVERLOADED,
    "sim-error-mid?after=0": OVERLOADED,
    "sim-error-mid": Broken(503, SERVER, "overloaded"),
    "sim-end-mid?after=0": TRUNCATED,
    "sim-end-mid": Broken(502, SERVER, "upstream_truncated"),
    "sim-no-stop": Whole(),
    # The connection broke.
    "sim-reset": UNREACHABLE,
    "sim-cut-first": UNREACHABLE,
    "sim-cut-mid-event?after=0": UNREACHABLE,
    "sim-cut-mid-event": CUT,
    "sim-cut-mid-character": CUT,
    # What is no event stream, or not all of it.
    "sim-malformed?after=0": UNREADABLE,
    "sim-malformed": MALFORMED,
    "sim-bad-utf8?after=0": UNREADABLE,
    "sim-bad-utf8": MALFORMED,
    "sim-html": UNREADABLE,
    # Unusual and right.
    "sim-ok": Whole(),
    "sim-crlf": Whole(),
    "sim-multi-line": Whole(),
    "sim-tiny-reads?tokens=40": Whole(),
    "sim-one-read": Whole(),
    "sim-ok?unknown_event=1": Whole(),
    "sim-ok?unknown_block=1": Whole(),
    "sim-ok?redacted=1": Whole(),
    "sim-ok?stop_reason=refusal": Whole("content_filter"),
    "sim-ok?stop_reason=max_tokens": Whole("length"),
    "sim-ok?stop_reason=model_context_window_exceeded": Whole("length"),
    "sim-ok?stop_reason=pause_turn": Whole(),
    "sim-ok?stop_reason=of_the_future": Whole(),
}

Case = tuple[str, bool]


def cases(kind: type[Refused | Broken | Whole]) -> list[Any]:
    specs = [spec for spec, outcome in OUTCOMES.items() if isinstance(outcome, kind)]
    return [
        pytest.param(case, id=f"{case[0]}-{'stream' if case[1] else 'whole'}") for case in product(specs, (True, False))
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    """A wide peek and some seconds of patience, so that a busy machine is not taken for a silent one."""
    settings: dict[str, Any] = {"peek_timeout": 30, "first_event_timeout": 4, "idle_timeout": 4, "max_retries": 0}
    async with running(postgres, tmp_path_factory.mktemp("service"), max_events=1000, **settings) as running_one:
        yield running_one


async def play(client: httpx.AsyncClient, case: Case) -> httpx.Response:
    spec, stream = case
    messages = [{"role": "user", "content": "What is unicode?"}]
    return await client.post("/v1/chat/completions", json={"model": spec, "messages": messages, "stream": stream})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers(headwater: Headwater) -> dict[Case, httpx.Response]:
    all_cases: list[Case] = list(product(OUTCOMES, (True, False)))
    async with headwater.client(limits=httpx.Limits(max_connections=None), timeout=50) as client:
        found = await asyncio.gather(*[play(client, case) for case in all_cases])
    return dict(zip(all_cases, found, strict=True))


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


def assert_error_body(answer: httpx.Response, outcome: Refused | Broken) -> None:
    assert answer.status_code == outcome.status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == (outcome.type, None, outcome.code)
    assert error["message"]


def finish_reasons(told: list[Any]) -> list[str]:
    choices = [choice for chunk in told for choice in chunk.get("choices", [])]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


async def test_every_fault_of_the_simulator_is_in_the_table() -> None:
    played = {spec.removeprefix("sim-").partition("?")[0] for spec in OUTCOMES}
    assert played == {*FAULTS, *map(str, KINDS)}


@pytest.mark.parametrize("case", cases(Refused))
async def test_refused_before_the_first_event(answers: dict[Case, httpx.Response], case: Case) -> None:
    answer, outcome = answers[case], OUTCOMES[case[0]]
    assert isinstance(outcome, Refused)
    assert_error_body(answer, outcome)
    assert answer.headers.get("retry-after") == outcome.retry_after


@pytest.mark.parametrize("case", cases(Broken))
async def test_broken_after_the_first_event(answers: dict[Case, httpx.Response], case: Case) -> None:
    answer, outcome = answers[case], OUTCOMES[case[0]]
    assert isinstance(outcome, Broken)
    if not case[1]:
        return assert_error_body(answer, outcome)
    assert answer.status_code == 200
    *told, last, done = [frame.data for frame in frames(answer.text)]
    assert done == "[DONE]"
    assert finish_reasons(told) == []
    assert not any("error" in chunk for chunk in told)
    assert any(chunk["choices"][0]["delta"].get("content") for chunk in told)  # what came before was passed on
    assert (last["error"]["type"], last["error"]["code"]) == (outcome.type, outcome.code)


@pytest.mark.parametrize("case", cases(Whole))
async def test_whole_in_spite_of_all(answers: dict[Case, httpx.Response], case: Case) -> None:
    answer, outcome = answers[case], OUTCOMES[case[0]]
    assert isinstance(outcome, Whole)
    assert answer.status_code == 200
    if not case[1]:
        (choice,) = answer.json()["choices"]
        assert choice["finish_reason"] == outcome.finish_reason
        assert choice["message"]["content"]
        return
    *told, done = [frame.data for frame in frames(answer.text)]
    assert done == "[DONE]"
    assert finish_reasons(told) == [outcome.finish_reason]
    assert not any("error" in chunk for chunk in told)
    (whole,) = answers[case[0], False].json()["choices"]
    text = "".join(choice["delta"].get("content", "") for chunk in told for choice in chunk["choices"])
    assert text == whole["message"]["content"]
