"""The service as a test meets it: as processes, or inside the test's own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.upstream import SimulatedUpstream
from tests.conftest import LOGS
from tests.support.api import Api, StartApi, running_api
from tests.support.headwater import Headwater, running
from tests.support.log_lines import check_logs
from tests.support.postgres import Postgres
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
    check_logs(tmp_path, upstream.requests)


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Headwater]:
    """One instance for all tests of a module, with the settings of its `SERVICE`, if it has any."""
    settings = getattr(request.module, "SERVICE", {})
    async with running(postgres, tmp_path_factory.mktemp("service"), **settings) as running_one:
        yield running_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the module's instance."""
    async with headwater.client() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the module's instance with the admin key."""
    async with headwater.client(headwater.service.admin_key) as client:
        yield client


@pytest.fixture(autouse=True)
def _show_log_of_the_modules_instance(request: pytest.FixtureRequest) -> None:
    if "headwater" in request.fixturenames:
        running_one: Headwater = request.getfixturevalue("headwater")
        request.node.stash[LOGS] = running_one.folder
