"""JavaScript's clients, released and unmodified, over a socket: node/ has the checks, one script for each client."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.compat.node_clients import run
from tests.conftest import LOGS
from tests.support.headwater import Headwater, running
from tests.support.postgres import Postgres

pytestmark = [pytest.mark.compat, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

CLIENTS = [
    "anthropic",
    "openai_chat",
    "openai_responses",
    "ai_anthropic",
    "ai_openai",
    "ai_openai_compatible",
    "eventsource",
    "fetch_event_source",
    "ui_chat",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    folder = tmp_path_factory.mktemp("service")
    async with running(postgres, folder, max_retries=0, disconnect_grace=1) as running_one:
        yield running_one


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


@pytest.mark.parametrize("client", CLIENTS)
async def test_client(headwater: Headwater, tmp_path: Path, client: str) -> None:
    service, upstream = headwater.service, headwater.upstream
    code, output = await run(
        f"{client}.mjs", tmp_path, TEST_URL=service.url, TEST_KEY=service.key, TEST_UPSTREAM=upstream.url
    )
    failed = re.findall(r"^ *✖ .+ms\)$", output, re.MULTILINE)
    assert code == 0, "\n".join([*dict.fromkeys(failed), output])
