"""One suite on every home: `make test-runtimes`. The results are printed as a table."""

from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from local.addresses import free_port
from local.upstream import SimulatedUpstream
from tests.conftest import LOGS
from tests.runtimes.homes.results import Results
from tests.runtimes.homes.snapshots import SNAPSTART, Snapshot, snapshot
from tests.runtimes.homes.targets import ALL, Home, Surroundings
from tests.support.postgres import Postgres

_RESULTS = pytest.StashKey[Results]()


@pytest.fixture(scope="session")
def tcp_postgres() -> Iterator[Postgres]:
    """On loopback, where containers find it."""
    with Postgres(port=free_port("127.0.0.1")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def around(tcp_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Surroundings]:
    url = tcp_postgres.create_database()
    async with SimulatedUpstream() as upstream:
        yield Surroundings(url, upstream, tmp_path_factory.mktemp("homes"))
    tcp_postgres.drop_database(url)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def home(request: pytest.FixtureRequest, around: Surroundings) -> AsyncIterator[Home]:
    """The home that the test's parameter names, started once for all tests on it."""
    async with ALL[request.param](around) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def snapshots(around: Surroundings) -> AsyncIterator[dict[str, Snapshot]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(snapshot(around, name)) for name in SNAPSTART}


@pytest.fixture(scope="session", autouse=True)
def _snapshots_that_age_meanwhile(request: pytest.FixtureRequest) -> None:
    """Taken first if they are wanted at all: they have to be old, and other tests take their time anyway."""
    if any("snapshots" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("snapshots")


@pytest.fixture(autouse=True)
def _show_logs(request: pytest.FixtureRequest, around: Surroundings) -> None:
    request.node.stash[LOGS] = Path(around.folder)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = Results(list(ALL))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A home starts in seconds, and a container's in more."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(240))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.config.stash[_RESULTS].add(item, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("homes")
    for line in config.stash[_RESULTS].lines():
        terminalreporter.line(line)
