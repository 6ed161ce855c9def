"""A Postgres server for tests, from the wheel that `make run` uses: in a folder of its own, and without durability."""

import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, LiteralString, Self
from urllib.parse import quote

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from app.db.migrate import migrate
from local.account import account_beside_root, give
from local.postgres_folder import environment, initialise, program
from local.processes import Child, running

VERSION: Final = int(os.environ.get("HEADWATER_TEST_POSTGRES", "18"))
_TEMPLATE: Final = "headwater_template"
_QUICK: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_connections": "200",
}


class Postgres:
    """A server for the time of a `with`. Start and stop it from the main thread: the server dies with that thread.

    It listens on a socket in `folder` alone, which only this user of the machine can reach; with `port`, on loopback
    too, and its URLs say so, for containers. `log` is its log.
    """

    def __init__(
        self, *, version: int = VERSION, settings: Mapping[str, str] | None = None, port: int | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="headwater-pg-"))
        self.log = self.folder / "log"
        self._version = version
        self._port = port
        self._settings = _QUICK | dict(settings or {})
        self._data = self.folder / "data"
        self._account = account_beside_root([self.folder, program("postgres", version)])
        self._running = ExitStack()
        self._numbers = itertools.count(1)
        self._has_template = False

    def url(self, database: str = "postgres") -> str:
        if self._port:
            return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder), safe='')}&port=5432"

    def start(self) -> None:
        """Return when it answers."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        listen = ["-h", "127.0.0.1", "-p", str(self._port)] if self._port else ["-h", ""]
        command = [str(program("postgres", self._version)), "-D", str(self._data), "-k", str(self.folder), *listen]
        log = self._running.enter_context(self.log.open("ab"))
        server = self._running.enter_context(
            running(
                "Postgres",
                [*command, *options],
                environment(),
                log=log,
                account=self._account,
                dies_with_us=True,
                signals=(signal.SIGINT, signal.SIGQUIT),
                patience=10,
            )
        )
        self._wait_until_ready(server)

    def _wait_until_ready(self, server: Child) -> None:
        patience = time.monotonic() + 30
        while True:
            server.check()
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert time.monotonic() < patience, self.log.read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Close all connections and end, as an administrator would; the data stay."""
        self._running.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def create_database(self) -> str:
        """The URL of a new database with the current schema."""
        if not self._has_template:
            self._execute("CREATE DATABASE {}", _TEMPLATE)
            migrate(self.url(_TEMPLATE))
            self._has_template = True
        name = f"test_{next(self._numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, _TEMPLATE)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Also if somebody is still connected."""
        self._execute("DROP DATABASE {} WITH (FORCE)", psycopg.conninfo.conninfo_to_dict(url)["dbname"])

    def _execute(self, statement: LiteralString, *names: Any) -> None:
        with self.connect(self.url()) as conn:
            conn.execute(SQL(statement).format(*map(Identifier, names)))

    @staticmethod
    def connect(url: str) -> Connection[Any]:
        """A connection of a test's own, to look into a database."""
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def __enter__(self) -> Self:
        give(self.folder, self._account)
        initialise(self._data, self._version, self._account)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)
