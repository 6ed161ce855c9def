"""The service as a test meets it: as processes, or inside the test's own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from local.upstream import SimulatedUpstream
from tests.conftest import LOGS
from tests.support.api import Api, StartApi, running_api
from tests.support.service import Service, Services, StartService


@pytest.fixture
def start_service(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, upstream: SimulatedUpstream
) -> Iterator[StartService]:
    """Starts instances of the service, as many as are wanted; all are killed in the end."""
    request.node.stash[LOGS] = tmp_path
    services = Services(tmp_path, database_url, upstream.url)
    yield services.start
    services.end()


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """One instance of the service."""
    return await start_service()


@pytest.fixture
async def start_api(database_url: str) -> AsyncIterator[StartApi]:
    """Starts the application inside the test's process, with settings of its own."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Api:
            return await stack.enter_async_context(running_api(database_url, **settings))

        yield start


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    """The application inside the test's process."""
    return await start_api()
