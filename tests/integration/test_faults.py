"""Every fault of the simulated upstream, in both dialects, streamed and not: what the caller is told.

All cases are played at once, since some have to wait; each test then looks at one of them.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import httpx
import pytest
import pytest_asyncio

from local.upstream import directives, schema
from local.upstream.answers import compose
from local.upstream.errors import KINDS
from local.upstream.faults import FAULTS
from tests.conftest import LOGS
from tests.support.headwater import Frame, Headwater, frames, running, text_of
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

Dialect = Literal["plain", "anthropic"]

TRIES = 2


@dataclass(frozen=True)
class Refused:
    """Told by the HTTP status, because nothing had come."""

    status: int
    type: str
    code: str
    tries: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Broken:
    """Told by an event, because something had come; by this status where the answer comes in one piece."""

    status: int
    type: str
    code: str


@dataclass(frozen=True)
class Whole:
    """Nothing to tell."""


CREDENTIALS = Refused(502, "api_error", "upstream_credentials")
FAILED = Refused(502, "api_error", "upstream_error")
UNREADABLE = Refused(502, "api_error", "upstream_malformed")
UNREACHABLE = Refused(502, "api_error", "upstream_connection", tries=TRIES)
CUT = Broken(502, "api_error", "upstream_connection")
MALFORMED = Broken(502, "api_error", "upstream_malformed")

OUTCOMES: dict[str, Refused | Broken | Whole] = {
    # An HTTP status of the upstream.
    "sim-400": Refused(400, "invalid_request_error", "upstream_refused"),
    "sim-401": CREDENTIALS,
    "sim-402": FAILED,
    "sim-403": CREDENTIALS,
    "sim-404": Refused(404, "not_found_error", "upstream_refused"),
    "sim-405": FAILED,
    "sim-409": Refused(502, "api_error", "upstream_error", tries=TRIES),
    "sim-413": Refused(413, "request_too_large", "upstream_refused"),
    "sim-429?retry_after=77": Refused(429, "rate_limit_error", "upstream_rate_limited", headers={"retry-after": "77"}),
    "sim-429?retry_after=0": Refused(
        429, "rate_limit_error", "upstream_rate_limited", tries=TRIES, headers={"retry-after": "0"}
    ),
    "sim-500": Refused(502, "api_error", "upstream_error", tries=TRIES),
    "sim-504": Refused(504, "timeout_error", "upstream_timeout", tries=TRIES),
    "sim-529?retry_after=77": Refused(529, "overloaded_error", "upstream_overloaded", headers={"retry-after": "77"}),
    # Late or never.
    "sim-slow-first-byte": Whole(),
    "sim-slow-first-event": Whole(),
    "sim-silence": Refused(504, "timeout_error", "upstream_timeout", tries=TRIES),
    "sim-silence-mid?after=0": Refused(504, "timeout_error", "upstream_timeout", tries=TRIES),
    "sim-silence-mid": Broken(504, "timeout_error", "upstream_timeout"),
    # Ended too soon.
    "sim-error-first": Refused(529, "overloaded_error", "upstream_overloaded", tries=TRIES),
    "sim-error-mid?after=0": Refused(529, "overloaded_error", "upstream_overloaded", tries=TRIES),
    "sim-error-mid": Broken(529, "overloaded_error", "upstream_overloaded"),
    "sim-end-mid?after=0": Refused(502, "api_error", "upstream_truncated", tries=TRIES),
    "sim-end-mid": Broken(502, "api_error", "upstream_truncated"),
    "sim-no-stop": Whole(),
    # The connection broke.
    "sim-reset": UNREACHABLE,
    "sim-cut-first": UNREACHABLE,
    "sim-cut-mid-event?after=0": UNREACHABLE,
    "sim-cut-mid-event": CUT,
    "sim-cut-mid-event?rate=200": CUT,
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
    "sim-ok?stop_reason=refusal": Whole(),
    "sim-ok?stop_reason=pause_turn": Whole(),
    "sim-ok?stop_reason=of_the_future": Whole(),
}
ENDLESS = "sim-endless"

Case = tuple[str, Dialect, bool]


def cases(kind: type[Refused | Broken | Whole]) -> list[Any]:
    """Each fault with this outcome, in each dialect, streamed and not."""
    specs = [spec for spec, outcome in OUTCOMES.items() if isinstance(outcome, kind)]
    return [
        pytest.param(
            case,
            id=f"{case[0]}-{case[1]}-{'stream' if case[2] else 'whole'}",
        )
        for case in product(specs, ("plain", "anthropic"), (True, False))
    ]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    body: str
    model: str

    def events(self) -> list[Frame]:
        assert self.headers["content-type"] == "text/event-stream"
        return frames(self.body)

    def json(self) -> Any:
        return httpx.Response(200, content=self.body.encode()).json()


def model_of(case: Case) -> str:
    """The fault, and by whom it was asked: so that the upstream's requests can be told apart."""
    spec, dialect, stream = case
    return f"{spec}{'&' if '?' in spec else '?'}key={dialect}-{stream}"


async def play(client: httpx.AsyncClient, case: Case) -> Answer:
    model, dialect, stream = model_of(case), case[1], case[2]
    body: dict[str, Any] = {"model": model, "max_tokens": 2000, "stream": stream}
    if dialect == "plain":
        response = await client.post("/v1/completions", json={**body, "input": "What is unicode?"})
    else:
        messages = [{"role": "user", "content": "What is unicode?"}]
        response = await client.post("/v1/messages", json={**body, "messages": messages})
    return Answer(response.status_code, response.headers, response.text, model)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    """A wide peek and some seconds of patience, so that a busy machine is not taken for a silent one."""
    settings: dict[str, Any] = {
        "peek_timeout": 30,
        "first_event_timeout": 4,
        "idle_timeout": 4,
        "max_retries": TRIES - 1,
    }
    async with running(postgres, tmp_path_factory.mktemp("service"), max_events=1000, **settings) as running_one:
        yield running_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers(headwater: Headwater) -> dict[Case, Answer]:
    all_cases: list[Case] = list(product([*OUTCOMES, ENDLESS], ("plain", "anthropic"), (True, False)))
    async with headwater.client(limits=httpx.Limits(max_connections=None), timeout=60) as client:
        found = await asyncio.gather(*[play(client, case) for case in all_cases])
    return dict(zip(all_cases, found, strict=True))


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


def stored(headwater: Headwater, answer: Answer) -> tuple[str, int, dict[str, Any] | None]:
    """Status, attempts and error of the completion."""
    query = "SELECT status, attempts, convert_from(error, 'UTF8')::json FROM completions WHERE model = %s"
    ((status, attempts, error),) = headwater.rows(query, answer.model)
    return status, attempts, error


def assert_error_body(answer: Answer, dialect: Dialect, outcome: Refused | Broken) -> None:
    body = answer.json()
    assert answer.status == outcome.status
    assert body["request_id"] == answer.headers["request-id"]
    if dialect == "plain":
        assert answer.headers["content-type"] == "application/problem+json"
        assert (body["type"], body["status"]) == (f"/problems/{outcome.code}", outcome.status)
        assert body["title"]
        assert body["detail"]
    else:
        assert answer.headers["content-type"] == "application/json"
        assert body["type"] == "error"
        assert body["error"]["type"] == outcome.type
        assert body["error"]["details"] == {"error_code": outcome.code}
        assert body["error"]["message"]


def assert_error_event(answer: Answer, dialect: Dialect, outcome: Broken) -> None:
    events = answer.events()
    last = events[-1]
    assert answer.status == 200
    assert last.event == "error"
    assert sum(frame.event == "error" for frame in events) == 1
    assert "[DONE]" not in [frame.data for frame in events]
    assert "message_stop" not in [frame.event for frame in events]
    error = last.data["error"]
    assert error["type"] == outcome.type
    assert error["message"]
    if dialect == "plain":
        assert error["code"] == outcome.code
    else:
        assert error["details"] == {"error_code": outcome.code}
        assert last.data["request_id"] == answer.headers["request-id"]


async def test_every_fault_of_the_simulator_is_in_the_table() -> None:
    played = {spec.removeprefix("sim-").partition("?")[0] for spec in (*OUTCOMES, ENDLESS)}
    assert played == {*FAULTS, *map(str, KINDS)}


@pytest.mark.parametrize("case", cases(Refused))
async def test_refused_before_the_first_event(headwater: Headwater, answers: dict[Case, Answer], case: Case) -> None:
    spec, dialect, _ = case
    answer, outcome = answers[case], OUTCOMES[spec]
    assert isinstance(outcome, Refused)

    assert_error_body(answer, dialect, outcome)
    assert {name: answer.headers.get(name) for name in ("retry-after",)} == {"retry-after": None} | outcome.headers
    assert len(headwater.asked(answer.model)) == outcome.tries
    status, attempts, error = stored(headwater, answer)
    assert (status, attempts) == ("failed", outcome.tries)
    assert error is not None
    assert error["error"]["details"]["error_code"] == outcome.code


@pytest.mark.parametrize("case", cases(Broken))
async def test_broken_after_the_first_event(headwater: Headwater, answers: dict[Case, Answer], case: Case) -> None:
    spec, dialect, stream = case
    answer, outcome = answers[case], OUTCOMES[spec]
    assert isinstance(outcome, Broken)

    if stream:
        assert_error_event(answer, dialect, outcome)
        assert text_of(answer.events())  # what came before the fault was passed on
    else:
        assert_error_body(answer, dialect, outcome)
    assert len(headwater.asked(answer.model)) == 1
    status, attempts, error = stored(headwater, answer)
    assert (status, attempts) == ("failed", 1)
    assert error is not None
    assert error["error"]["details"]["error_code"] == outcome.code


@pytest.mark.parametrize("case", cases(Whole))
async def test_whole_in_spite_of_all(headwater: Headwater, answers: dict[Case, Answer], case: Case) -> None:
    _, dialect, stream = case
    answer = answers[case]

    assert answer.status == 200
    if stream:
        events = answer.events()
        ends = [frame.event if dialect == "anthropic" else frame.data for frame in events]
        end = "message_stop" if dialect == "anthropic" else "[DONE]"
        assert ends[-1] == end
        assert ends.count(end) == 1
        assert "error" not in [frame.event for frame in events]
        text = text_of(events)
    else:
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        text = text_in(body)
        if dialect == "anthropic":
            assert body == meant(headwater, answer)
    assert text == text_in(meant(headwater, answer))
    assert stored(headwater, answer) == ("completed", 1, None)


def meant(headwater: Headwater, answer: Answer) -> Any:
    """What the upstream had to say to the one request that it got, before its fault."""
    (request,) = headwater.asked(answer.model)
    return compose(schema.parse(request.body, schema.MessagesRequest), directives.parse(answer.model)).message()


def text_in(message: Any) -> str:
    return "".join(block.get("text", "") for block in message["content"])


@pytest.mark.parametrize("dialect", ["plain", "anthropic"])
async def test_a_stream_without_end_is_ended(
    headwater: Headwater, answers: dict[Case, Answer], dialect: Dialect
) -> None:
    streamed, whole = answers[ENDLESS, dialect, True], answers[ENDLESS, dialect, False]

    assert_error_event(streamed, dialect, Broken(504, "timeout_error", "stream_limit"))
    assert_error_body(whole, dialect, Broken(504, "timeout_error", "stream_limit"))
    for answer in (streamed, whole):
        assert len(headwater.asked(answer.model)) == 1
        assert stored(headwater, answer)[0] == "failed"


async def test_every_answer_has_its_own_request_id(answers: dict[Case, Answer]) -> None:
    ids = [answer.headers["request-id"] for answer in answers.values()]
    assert len(set(ids)) == len(ids)
    assert all(id.startswith("req_") for id in ids)
    assert [answer.headers["x-request-id"] for answer in answers.values()] == ids


async def test_nothing_of_the_upstreams_account_is_told(headwater: Headwater, answers: dict[Case, Answer]) -> None:
    upstreams_ids = {request.request_id for request in headwater.upstream.requests}
    private = ["the-upstreams-own-key", "x-api-key", "credit", "account", "invalid x-", headwater.upstream.url]
    for case, answer in answers.items():
        told = [*answer.headers.values(), *([answer.body] if not isinstance(OUTCOMES.get(case[0]), Whole) else [])]
        for secret in [*private, *upstreams_ids]:
            assert not any(secret in text for text in told), (case, secret)


async def test_upstream_connections_are_closed_in_the_end(headwater: Headwater, answers: dict[Case, Answer]) -> None:
    async with asyncio.timeout(10):
        await headwater.upstream.idle()
