"""What chaos tests use beside the fixtures of the integration tests."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos.streams import Client, Connect, clients
from tests.conftest import LOGS
from tests.integration.conftest import start_api, start_service
from tests.support.postgres import Postgres
from tests.support.service import ROOT, Service, Services

__all__ = ["start_api", "start_service"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Here processes are killed and leases run out: that takes its time."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens clients that look at every frame."""
    async with clients() as connect:
        yield connect


@pytest.fixture
def private_database(private_postgres: Postgres) -> str:
    """A database on the test's own server."""
    return private_postgres.create_database()


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[str]:
    """The address of a simulated upstream in a process of its own, where the test's has enough to do."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "local.upstream", "--port", "0", "--events-per-second", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout as output:
        yield output.readline().decode().split()[-1]
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def lasting(
    postgres: Postgres, upstream_process: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str, list[Service]]]:
    """Two instances on one database that tests share as long as they leave them as they were."""
    folder, database_url = tmp_path_factory.mktemp("lasting"), postgres.create_database()
    services = Services(folder, database_url, upstream_process)

    async def start() -> list[Service]:
        return [await services.start(lease=5, control_tick=0.5, disconnect_grace=1.5) for _ in range(2)]

    yield folder, database_url, asyncio.run(start())
    services.end()
    postgres.drop_database(database_url)


@pytest.fixture
async def both(
    request: pytest.FixtureRequest, lasting: tuple[Path, str, list[Service]], connect: Connect
) -> tuple[Client, Client]:
    """Clients of two instances on one database, which other tests use too."""
    folder, _, (a, b) = lasting
    request.node.stash[LOGS] = folder
    return await connect(a), await connect(b)


@pytest.fixture
def shared_database(lasting: tuple[Path, str, list[Service]]) -> str:
    """The database of `both`."""
    return lasting[1]
