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
