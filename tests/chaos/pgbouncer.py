"""PgBouncer in transaction mode: the stand-in for RDS Proxy. What pins a proxied session breaks or leaks here."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import psycopg

from local.account import account_beside_root, give

PROGRAM: Final = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(database_url: str, folder: Path, *, connections: int) -> Iterator[str]:
    """The URL of `database_url` behind a PgBouncer that opens so many connections to the server."""
    assert PROGRAM is not None, "pgbouncer is not installed"
    port = _free_port()
    account = account_beside_root([folder / "pgbouncer.ini"])
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(_settings(database_url, folder, port, connections, account is not None))
    give(folder, account)
    for file in folder.iterdir():
        give(file, account)
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "-q", str(folder / "pgbouncer.ini")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    url = f"postgresql://postgres@127.0.0.1:{port}/{urlsplit(database_url).path[1:]}"
    try:
        _wait_until_ready(url, process, folder)
        yield url
    finally:
        process.terminate()
        process.wait()


def _settings(database_url: str, folder: Path, port: int, connections: int, as_root: bool) -> str:
    server = urlsplit(database_url)
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users",
        "pool_mode": "transaction",
        "default_pool_size": connections,
        "max_client_conn": 500,
    }
    if _version() >= (1, 21):
        settings["max_prepared_statements"] = 0  # else it would hide what breaks behind a proxy
    if as_root:
        settings["user"] = "pgserver"
    lines = [f"{name} = {value}" for name, value in settings.items()]
    databases = f"* = host={parse_qs(server.query)['host'][0]} port=5432"
    return "\n".join(["[databases]", databases, "[pgbouncer]", *lines, ""])


def _version() -> tuple[int, int]:
    assert PROGRAM is not None
    shown = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"PgBouncer (\d+)\.(\d+)", shown)
    assert match, shown
    return int(match[1]), int(match[2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    patience = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            said = (folder / "pgbouncer.log").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < patience, said
            time.sleep(0.05)
        else:
            return
