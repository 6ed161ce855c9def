"""A data folder of a test's own.

Not pytest's `tmp_path`: started by root, Postgres is another user, and each session of pytest shuts others out of its
folders.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headwater-data-") as folder:
        yield Path(folder).resolve()


@pytest.fixture
def data() -> Iterator[Path]:
    with _folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared_data() -> Iterator[Path]:
    with _folder() as folder:
        yield folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes are killed here in the middle of connecting: asyncio leaves such a socket to the collector."""
    left = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(left)
