"""Postgres from a Python package, in one folder, for as long as the launcher runs.

Only the package's programs are used. With its own runner a server outlives a killed launcher unseen, and a lock file in
/tmp keeps the machine's second user out.
"""

import os
import pwd
import secrets
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.sql import SQL

from local.account import account_beside_root, give
from local.addresses import free_port
from local.errors import LaunchError
from local.postgres_folder import check_version, complaint, end_leftover, environment, initialise, program
from local.processes import Child, running, wait_until

# A socket's path has room for 103 bytes on macOS and 107 on Linux.
_LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.65535")
# Long enough for the recovery after a crash.
_PATIENCE = 60.0
_LOOPBACK = "127.0.0.1"
# In place of the data folder's own rules, which would trust everybody who comes by TCP.
_RULES = f"""\
local all all trust
host headwater postgres {_LOOPBACK}/32 scram-sha-256
"""


@contextmanager
def running_postgres(folder: Path, *, version: int = 18, by_tcp: bool = False) -> Iterator[tuple[Child, str]]:
    """The server, and the URL of its database, which only this user of the machine can reach.

    The URL is that of a socket in a private folder, or with `by_tcp`, for containers, of a port on loopback, with a
    password that holds until the next start.

    Raises:
        LaunchError: the folder is of another version, or damaged, or Postgres cannot be started.
    """
    account = account_beside_root([folder, program("postgres", version)])
    if not folder.exists():
        initialise(folder, version, account)
    check_version(folder, version)
    end_leftover(folder)
    port = free_port(_LOOPBACK) if by_tcp else 5432
    # A socket in a private folder needs no password.
    listen = ["-h", _LOOPBACK, "-c", f"hba_file={_rules(folder, account)}"] if by_tcp else ["-h", ""]
    with _socket_folder(folder, account) as sockets:
        options = ["-k", str(sockets), "-p", str(port), *listen]
        with _server(folder, options, version, account) as server:
            _wait_until_ready(folder, server)
            url = _create_database(sockets, port)
            yield server, _url_by_tcp(url, port) if by_tcp else url


def _rules(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Who may connect, and how, to a server that listens on loopback."""
    path = folder / "pg_hba_loopback.conf"
    path.write_text(_RULES)
    give(path, account)
    return path


@contextmanager
def _socket_folder(folder: Path, account: pwd.struct_passwd | None) -> Iterator[Path]:
    """The data folder itself, where only its owner can pass, unless its path is too long for a socket."""
    if len(os.fsencode(folder)) <= _LONGEST_SOCKET_FOLDER:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="headwater-") as short:
        give(Path(short), account)
        yield Path(short)


@contextmanager
def _server(folder: Path, options: Sequence[str], version: int, account: pwd.struct_passwd | None) -> Iterator[Child]:
    command = [str(program("postgres", version)), "-D", str(folder), *options]
    with (
        _log(folder).open("wb") as log,
        running(
            "Postgres",
            command,
            environment(),
            log=log,
            account=account,
            signals=(signal.SIGINT, signal.SIGQUIT),  # "fast" and "immediate" shutdown
            patience=0.5,
        ) as server,
    ):
        yield server


def _log(folder: Path) -> Path:
    return folder.with_name(folder.name + ".log")


def _wait_until_ready(folder: Path, server: Child) -> None:
    try:
        ready = wait_until(lambda: _is_ready(folder), [server], _PATIENCE)
    except LaunchError as error:
        said = _log(folder).read_text(errors="replace")
        raise LaunchError(f"Postgres did not start on {folder}: {complaint(said)}.") from error
    if not ready:
        raise LaunchError(f"Postgres was not ready within {_PATIENCE:.0f} s; see {_log(folder)}.")


def _is_ready(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        return (folder / "postmaster.pid").read_text().rstrip().endswith("ready")
    return False


def _create_database(sockets: Path, port: int) -> str:
    url = "postgresql://postgres@/{}?host=" + quote(str(sockets), safe="") + f"&port={port}"
    with psycopg.connect(url.format("postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = 'headwater'").fetchone()
        if found is None:
            connection.execute("CREATE DATABASE headwater")
    return url.format("headwater")


def _url_by_tcp(url: str, port: int) -> str:
    """With a new password, of which the server learns a hash, so that no log of statements can have it."""
    password = secrets.token_urlsafe(32)
    with psycopg.connect(url, autocommit=True) as connection:
        kept = connection.pgconn.encrypt_password(password.encode(), b"postgres", b"scram-sha-256")
        connection.execute(SQL("ALTER ROLE postgres PASSWORD {}").format(kept.decode()))
    return f"postgresql://postgres:{password}@{_LOOPBACK}:{port}/headwater"
