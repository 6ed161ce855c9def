"""What `make run` says when it cannot: one sentence each, and never a stack trace."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.postgres import running_postgres
from tests.runtimes.launched import refusal


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_port_in_use(data: Path, taken_port: int) -> None:
    said = refusal(data, HEADWATER_PORT=str(taken_port))
    assert said == f"Port {taken_port} of 127.0.0.1 is in use: set HEADWATER_PORT to another one."


def test_address_of_another_machine(data: Path) -> None:
    said = refusal(data, HEADWATER_HOST="192.0.2.1")
    assert said.startswith("Headwater cannot listen on 192.0.2.1, port 0: ")


def test_setting_that_does_not_fit(data: Path) -> None:
    said = refusal(data, HEADWATER_PORT="99999")
    assert said.startswith("These settings do not fit: port: ")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://someone:secret@127.0.0.1/db", "DATABASE_URL is not the address of a Postgres database"),
        ("nonsense", "DATABASE_URL is not the address of a Postgres database"),
        ("postgresql://nobody.invalid/db", "The database of DATABASE_URL cannot be reached: "),
        ("postgresql://127.0.0.1:1/db", "The database of DATABASE_URL cannot be reached: "),
    ],
)
def test_wrong_database_url(data: Path, url: str, sentence: str) -> None:
    said = refusal(data, DATABASE_URL=url)
    assert said.startswith(sentence)
    assert "secret" not in said


def test_wrong_password(data: Path) -> None:
    with running_postgres(data / "server") as (_, url):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE someone LOGIN PASSWORD 'right'")
            (data / "server" / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
            connection.execute("SELECT pg_reload_conf()")
        said = refusal(data / "folder", DATABASE_URL=url.replace("postgres@", "someone:falsch@"))
    assert "password authentication failed" in said
    assert "falsch" not in said


def test_data_folder_that_is_a_file(data: Path) -> None:
    (data / "folder").touch()
    assert refusal(data / "folder") == f"The data folder {data / 'folder'} cannot be used: file exists."


def test_data_folder_where_nobody_can_write() -> None:
    assert refusal(Path("/dev/null/data")) == "The data folder /dev/null/data cannot be used: not a directory."


def test_file_that_cannot_be_read(data: Path) -> None:
    (data / "admin_key").mkdir()
    assert refusal(data) == f"Headwater cannot go on: is a directory ({data / 'admin_key'})."


def test_database_of_another_version(data: Path) -> None:
    with running_postgres(data / "postgres", version=16):
        pass
    said = refusal(data)
    assert said.endswith("was made by Postgres 16 and this is Postgres 18: move it away to begin anew.")


def test_database_that_is_none(data: Path) -> None:
    (data / "postgres").mkdir()
    assert "holds no database" in refusal(data)


def test_damaged_database(data: Path) -> None:
    with running_postgres(data / "postgres"):
        pass
    os.truncate(data / "postgres" / "global" / "pg_control", 100)
    said = refusal(data)
    assert said.startswith(f"Postgres did not start on {data / 'postgres'}: ")
