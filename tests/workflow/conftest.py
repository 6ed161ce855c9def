"""What `make run-workflow` starts, and an ordinary instance beside it on the same database, as on Fargate."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.runtimes.launched import Launched, launched
from tests.support.running_batches import SETTINGS, Batches, opened

_HERE: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="module")
def whole() -> Iterator[Launched]:
    # Not pytest's own folder: started by root, Postgres is another user.
    with tempfile.TemporaryDirectory(prefix="headwater-data-") as folder:
        data = Path(folder).resolve()
        with launched(data, "--workflow", **SETTINGS) as service:
            yield service


@pytest.fixture(scope="module")
def beside(whole: Launched) -> Iterator[Launched]:
    run = whole.run
    knows = {"HEADWATER_WORKFLOW": run["workflow"], "AWS_ENDPOINT_URL_SFN": run["workflow_url"]}
    credentials = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}
    with launched(
        whole.run_file.parent, DATABASE_URL=run["database_url"], **knows, **credentials, **SETTINGS
    ) as service:
        yield service


@pytest.fixture
async def batches(whole: Launched, beside: Launched) -> AsyncIterator[Batches]:
    async with opened(whole, beside) as batches:
        yield batches
