"""A Postgres of a benchmark's own, which writes through to the disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.db.migrate import migrate
from local.account import account_beside_root, give
from local.postgres import running_postgres
from local.postgres_folder import program


@dataclass(frozen=True, slots=True)
class Database:
    url: str
    pid: int


@contextmanager
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        data = Path(folder) / "pg"
        give(Path(folder), account_beside_root([data, program("postgres", 18)]))
        with running_postgres(data) as (server, url):
            migrate(url)
            yield Database(url, server.process.pid)
