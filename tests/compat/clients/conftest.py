"""Clients as they are released, pointed at an instance of the service. They may call nothing but this machine."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.conftest import LOGS
from tests.support.clients import GRACE
from tests.support.headwater import Headwater, running
from tests.support.postgres import Postgres

# What a developer's own shell may set for these clients.
FOREIGN: Final = (
    "OPENAI_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "PYDANTIC_AI_",
    "LLM_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)
HERE: Final = ("127.0.0.1", "localhost", "::1")

_called_elsewhere: list[object] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _, address = arguments
        # The address of a Unix socket is its path.
        if isinstance(address, tuple) and address[0] not in HERE:
            _called_elsewhere.append(address)
    elif event == "socket.getaddrinfo" and arguments[0] not in HERE:
        _called_elsewhere.append(arguments[0])


sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def _nothing_elsewhere_is_called() -> Iterator[None]:
    _called_elsewhere.clear()
    yield
    assert _called_elsewhere == []


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_developers_own_for_clients() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(FOREIGN):
                patch.delenv(name)
        patch.setenv("LANGSMITH_TRACING", "false")
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    """One instance for all tests of a module, which does not try the upstream again."""
    folder = tmp_path_factory.mktemp("service")
    async with running(postgres, folder, max_retries=0, disconnect_grace=GRACE) as running_one:
        yield running_one


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder
