"""The embedded Postgres on loopback: for whoever has the password of this start, and nobody else."""

from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from local.postgres import running_postgres


def refusal(url: str) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(url, connect_timeout=5)
    return str(caught.value)


def test_only_the_password_of_this_start_lets_in(tmp_path: Path) -> None:
    urls = []
    for _ in range(2):
        with running_postgres(tmp_path / "postgres", by_tcp=True) as (_, url):
            parts = urlsplit(url)
            assert parts.hostname == "127.0.0.1"
            address = f"127.0.0.1:{parts.port}"
            assert "password" in refusal(f"postgresql://postgres@{address}/headwater")
            assert "password authentication failed" in refusal(f"postgresql://postgres:guess@{address}/headwater")
            assert "no pg_hba.conf entry" in refusal(url.removesuffix("headwater") + "postgres")
            with psycopg.connect(url) as connection:
                assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
            urls.append(parts)
    assert urls[0].password != urls[1].password


def test_without_it_nothing_listens_on_a_port_also_later(tmp_path: Path) -> None:
    with running_postgres(tmp_path / "postgres", by_tcp=True):
        pass
    with running_postgres(tmp_path / "postgres") as (_, url), psycopg.connect(url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
