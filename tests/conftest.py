"""What tests of every kind share: a Postgres server, databases on it, and a simulated upstream."""

import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from local.upstream import SimulatedUpstream
from tests.support.postgres import Postgres

LOGS = pytest.StashKey[Path]()
_SHOWN = 20_000


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_developers_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("HEADWATER_", "ANTHROPIC_", "DATABASE_URL", "PG")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of the whole run, of the version that HEADWATER_TEST_POSTGRES names. Nobody stops it."""
    with Postgres() as server:
        yield server


@pytest.fixture
def private_postgres() -> Iterator[Postgres]:
    """A server of the test's own, to stop and start, and to read every statement in its log."""
    with Postgres(settings={"log_statement": "all", "log_parameter_max_length": "0"}) as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A new database with the current schema."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    """A simulated upstream in the test's own process, as fast as it can."""
    async with SimulatedUpstream() as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure, show what the services said whose logs lie in the test's folder."""
    report = yield
    if report.failed and LOGS in item.stash:
        for log in sorted(item.stash[LOGS].glob("*.log")):
            report.sections.append((log.name, log.read_text(errors="replace")[-_SHOWN:]))
    return report
