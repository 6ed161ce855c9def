"""Every fault of the simulated upstream, in every dialect, streamed and not: what the caller is told.

All cases are played at the start, many at once, since some have to wait; each test then looks at one of them.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain, product
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from local.upstream import directives, schema
from local.upstream.answers import compose
from local.upstream.errors import KINDS
from local.upstream.faults import FAULTS
from tests.conftest import LOGS
from tests.integration.fault_table import OUTCOMES, TRIES, Broken, Outcome, Refused, Whole, ended, stopped
from tests.support.dialects import DIALECTS, MESSAGES, RESPONSES, Dialect, Told, Way
from tests.support.headwater import Headwater, running
from tests.support.postgres import Postgres
from tests.support.responses import ended as polled

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("faults"),  # or every worker would play all cases
    pytest.mark.timeout(180),  # the first test waits until they are played
]

# More of them at once, and a busy machine would be taken for a silent one.
AT_ONCE = 80
PATIENCE = 60


class Case(NamedTuple):
    spec: str
    dialect: Dialect
    way: Way

    @property
    def model(self) -> str:
        """The fault, and by whom it was asked: so that the upstream's requests can be told apart."""
        return f"{self.spec}{'&' if '?' in self.spec else '?'}key={self.dialect.name}-{self.way}"

    def __str__(self) -> str:
        return f"{self.spec}-{self.dialect.name}-{self.way}"


class Answer(NamedTuple):
    told: Told
    response: httpx.Response


ALL = [Case(spec, dialect, way) for spec, dialect in product(OUTCOMES, DIALECTS) for way in dialect.ways]


def cases(kind: type[Outcome]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [case for case in ALL if isinstance(OUTCOMES[case.spec], kind)], ids=str)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    """A wide peek and some seconds of patience, so that a busy machine is not taken for a silent one."""
    settings: dict[str, Any] = {
        "peek_timeout": 30,
        "first_event_timeout": 5,
        "idle_timeout": 5,
        "max_retries": TRIES - 1,
    }
    async with running(postgres, tmp_path_factory.mktemp("service"), max_events=1000, **settings) as running_one:
        yield running_one


async def play(client: httpx.AsyncClient, case: Case) -> Answer:
    response = await case.dialect.ask(client, case.model, case.way)
    if case.way != "polled":
        return Answer(case.dialect.told(response), response)
    assert response.json()["status"] == "queued"
    return Answer(RESPONSES.polled(await polled(client, response.json()["id"], within=PATIENCE)), response)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answers(headwater: Headwater) -> dict[Case, Answer]:
    places = asyncio.Semaphore(AT_ONCE)
    async with headwater.client(limits=httpx.Limits(max_connections=None), timeout=PATIENCE) as client:

        async def play_in_turn(case: Case) -> Answer:
            async with places:
                return await play(client, case)

        # An event that comes byte by byte waits for everybody else at each of them: these go first, by themselves.
        bytewise = [case for case in ALL if "tiny-reads" in case.spec]
        others = [case for case in ALL if case not in bytewise]
        found = [await asyncio.gather(*[play_in_turn(case) for case in cases]) for cases in (bytewise, others)]
    return dict(zip([*bytewise, *others], chain(*found), strict=True))


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


def stored(headwater: Headwater, case: Case) -> tuple[str, int, dict[str, Any] | None]:
    """Status, attempts and error of the completion."""
    query = "SELECT status, attempts, convert_from(error, 'UTF8')::json FROM completions WHERE model = %s"
    ((status, attempts, error),) = headwater.rows(query, case.model)
    return status, attempts, error


def assert_failed(headwater: Headwater, case: Case, code: str, tries: int) -> None:
    assert len(headwater.asked(case.model)) == tries
    status, attempts, error = stored(headwater, case)
    assert (status, attempts) == ("failed", tries)
    assert error is not None
    assert error["error"]["details"]["error_code"] == code


async def test_every_fault_of_the_simulator_is_in_the_table() -> None:
    played = {spec.removeprefix("sim-").partition("?")[0] for spec in OUTCOMES}
    assert played == {*FAULTS, *map(str, KINDS)}


@cases(Refused)
async def test_refused_before_the_first_event(headwater: Headwater, answers: dict[Case, Answer], case: Case) -> None:
    outcome = OUTCOMES[case.spec]
    assert isinstance(outcome, Refused)
    told, response = answers[case]

    end, type = ended(case.dialect.name, case.way, outcome.error, begun=False)
    assert told == Told(end, "", type)
    assert response.headers.get("retry-after") == (None if case.way == "polled" else outcome.retry_after)
    assert_failed(headwater, case, outcome.error.code, outcome.tries)


@cases(Broken)
async def test_broken_after_the_first_event(headwater: Headwater, answers: dict[Case, Answer], case: Case) -> None:
    outcome = OUTCOMES[case.spec]
    assert isinstance(outcome, Broken)
    told, _ = answers[case]

    end, type = ended(case.dialect.name, case.way, outcome.error, begun=True)
    assert (told.end, told.type) == (end, type)
    assert bool(told.text) == (case.way != "whole")  # what came before the fault was passed on
    assert_failed(headwater, case, outcome.error.code, tries=1)


@cases(Whole)
async def test_whole_in_spite_of_all(headwater: Headwater, answers: dict[Case, Answer], case: Case) -> None:
    outcome = OUTCOMES[case.spec]
    assert isinstance(outcome, Whole)
    told, response = answers[case]
    message = meant(headwater, case)

    text = "".join(block.get("text", "") for block in message["content"])
    assert told == Told(stopped(case.dialect.name, case.way, outcome.stop_reason), text)
    assert stored(headwater, case) == ("completed", 1, None)
    if case.dialect is MESSAGES and case.way == "whole":
        assert response.json() == message


def meant(headwater: Headwater, case: Case) -> Any:
    """What the upstream had to say to the one request that it got, before its fault."""
    (request,) = headwater.asked(case.model)
    return compose(schema.parse(request.body, schema.MessagesRequest), directives.parse(case.model)).message()


async def test_every_answer_has_its_own_request_id(answers: dict[Case, Answer]) -> None:
    ids = [response.headers["request-id"] for _, response in answers.values()]
    assert len(set(ids)) == len(ids)
    assert all(id.startswith("req_") for id in ids)
    assert [response.headers["x-request-id"] for _, response in answers.values()] == ids


async def test_nothing_of_the_upstreams_account_is_told(headwater: Headwater, answers: dict[Case, Answer]) -> None:
    upstreams_ids = {request.request_id for request in headwater.upstream.requests}
    private = ["the-upstreams-own-key", "x-api-key", "credit", "account", "invalid x-", headwater.upstream.url]
    for case, (_, response) in answers.items():
        whole = isinstance(OUTCOMES[case.spec], Whole)
        heard = "\n".join([*response.headers.values(), *([] if whole else [response.text])])
        for secret in [*private, *upstreams_ids]:
            assert secret not in heard, (case, secret)


async def test_upstream_connections_are_closed_in_the_end(headwater: Headwater, answers: dict[Case, Answer]) -> None:
    async with asyncio.timeout(10):
        await headwater.upstream.idle()
