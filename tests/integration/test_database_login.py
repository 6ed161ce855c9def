"""Logging in to the database: with secrets that rotate, tokens, and certificates."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout
from pydantic import SecretStr

from app.config import Settings
from app.db.pool import Pool, create_pool
from tests.support.aws import REGION, Aws, running_aws, secret_arn
from tests.support.postgres import Postgres
from tests.support.service import StartService
from tests.support.tls_proxy import TlsProxy, running_tls_proxy

ARN = secret_arn("database")
# The superuser as always, everybody else with a password; tokens are sent as they are.
_HBA = "(VALUES ('local all postgres trust'), ('local all token password'), ('local all all scram-sha-256'))"


@pytest.fixture(scope="module")
def strict_postgres() -> Iterator[Postgres]:
    """A server that asks for passwords."""
    with Postgres() as server, server.connect(server.url()) as conn:
        row = conn.execute("SHOW hba_file").fetchone()
        assert row is not None
        conn.execute(f"COPY {_HBA} TO '{row[0]}'")
        conn.execute("SELECT pg_reload_conf()")
        conn.execute("CREATE ROLE service LOGIN SUPERUSER PASSWORD 'first'")
        conn.execute("CREATE ROLE other LOGIN PASSWORD 'other'")
        conn.execute("CREATE ROLE token LOGIN PASSWORD 'none'")
        yield server


@pytest.fixture
def database(strict_postgres: Postgres) -> Iterator[str]:
    url = strict_postgres.create_database()
    yield str(conninfo_to_dict(url)["dbname"])
    strict_postgres.drop_database(url)


@pytest.fixture
async def proxy(strict_postgres: Postgres, tmp_path: Path) -> AsyncIterator[TlsProxy]:
    async with running_tls_proxy(strict_postgres, tmp_path) as running:
        yield running


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with running_aws() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def pool_of(url: str, **settings: Any) -> Pool:
    return create_pool(Settings(database_url=SecretStr(url), pool_min=0, pool_timeout=3, **settings))


async def user_of(pool: Pool) -> str:
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT current_user")).fetchone()
    assert row is not None
    return str(row[0])


async def expire(pool: Pool) -> None:
    """The next connection is a new one."""
    await pool.drain()


def rotate(postgres: Postgres, aws: Aws, password: str) -> None:
    with postgres.connect(postgres.url()) as conn:
        conn.execute(f"ALTER ROLE service PASSWORD '{password}'")
    aws.secrets[ARN] = {"username": "service", "password": password}


async def test_a_password_that_was_changed_is_read_again(
    strict_postgres: Postgres, database: str, proxy: TlsProxy, aws: Aws
) -> None:
    rotate(strict_postgres, aws, "first")
    async with pool_of(proxy.url(database, ""), database_auth="secret", database_secret_arn=ARN) as pool:
        assert await user_of(pool) == "service"
        rotate(strict_postgres, aws, "second")
        assert await user_of(pool) == "service"
        assert aws.calls["GetSecretValue"] == 1
        await expire(pool)
        assert await user_of(pool) == "service"
        assert aws.calls["GetSecretValue"] == 2
        await expire(pool)
        assert await user_of(pool) == "service"
        assert aws.calls["GetSecretValue"] == 2


async def test_a_password_outlives_an_outage_of_the_secrets(
    strict_postgres: Postgres, database: str, proxy: TlsProxy, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(strict_postgres, aws, "first")
    async with pool_of(proxy.url(database, ""), database_auth="secret", database_secret_arn=ARN) as pool:
        assert await user_of(pool) == "service"
        aws.refused.add("GetSecretValue")
        monkeypatch.setattr("app.db.login._SECRET_LASTS", 0.0)
        await expire(pool)
        assert await user_of(pool) == "service"
    assert aws.calls["GetSecretValue"] > 1


async def test_users_that_take_turns_are_read_with_their_passwords(
    strict_postgres: Postgres, database: str, proxy: TlsProxy, aws: Aws
) -> None:
    rotate(strict_postgres, aws, "first")
    async with pool_of(proxy.url(database, ""), database_auth="secret", database_secret_arn=ARN) as pool:
        assert await user_of(pool) == "service"
        rotate(strict_postgres, aws, "locked")
        aws.secrets[ARN] = {"username": "other", "password": "other"}
        await expire(pool)
        assert await user_of(pool) == "other"


@pytest.mark.parametrize("secret", [{"username": "service", "password": "wrong"}, {"user": "service"}, ["service"]])
async def test_a_secret_that_does_not_help_is_an_unavailable_database(
    database: str, proxy: TlsProxy, aws: Aws, secret: Any
) -> None:
    aws.secrets[ARN] = secret
    async with pool_of(proxy.url(database, ""), database_auth="secret", database_secret_arn=ARN) as pool:
        with pytest.raises(PoolTimeout):
            await user_of(pool)


async def test_a_token_is_signed_for_each_connection(database: str, proxy: TlsProxy, aws: Aws) -> None:
    async with pool_of(proxy.url(database, "token"), database_auth="iam") as pool:
        with pytest.raises(PoolTimeout):  # no Postgres knows what to do with it, RDS alone does
            await user_of(pool)
    tokens = [urlsplit(f"https://{password}") for password in proxy.passwords]
    assert len(tokens) > 1  # it was tried again
    for token in tokens:
        asked = parse_qs(token.query)
        assert (token.netloc, asked["Action"], asked["DBUser"]) == (f"localhost:{proxy.port}", ["connect"], ["token"])
        assert asked["X-Amz-Credential"][0].startswith(f"{aws.key_id}/")
        assert asked["X-Amz-Credential"][0].endswith(f"/{REGION}/rds-db/aws4_request")
        assert (asked["X-Amz-Expires"], asked["X-Amz-Security-Token"]) == (["900"], ["session"])
    assert len(set(tokens)) > 1  # not the same for two connections


async def test_certificates_are_checked_in_full(
    database: str, proxy: TlsProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def url(**changes: Any) -> str:
        return proxy.url(database, "other:other", **changes)

    async with pool_of(url()) as pool:
        assert await user_of(pool) == "other"
    for refused in (url(host="127.0.0.1"), url(ca="system"), url(ca=str(_another_authority(tmp_path)))):
        async with pool_of(refused) as pool:
            with pytest.raises(PoolTimeout):
                await user_of(pool)
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.ca))  # what the system trusts
    assert ssl.get_default_verify_paths().cafile == str(proxy.ca)
    async with pool_of(url(ca="system")) as pool:
        assert await user_of(pool) == "other"


def _another_authority(folder: Path) -> Path:
    import trustme

    file = folder / "another.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


async def test_the_service_and_its_migrations_log_in_so(
    strict_postgres: Postgres, database: str, proxy: TlsProxy, aws: Aws, start_service: StartService
) -> None:
    from app.db.migrate import migrate_as

    rotate(strict_postgres, aws, "first")
    url = proxy.url(database, "")
    service = await start_service(
        database_url=url, environment=aws.environment, database_auth="secret", database_secret_arn=ARN
    )
    async with service.client() as client:
        assert (await client.get("/readyz")).status_code == 200
    await asyncio.to_thread(
        migrate_as, Settings(database_url=SecretStr(url), database_auth="secret", database_secret_arn=ARN)
    )


async def test_settings_come_from_a_secret(aws: Aws, start_service: StartService, database_url: str) -> None:
    arn = secret_arn("settings")
    aws.secrets[arn] = {"HEADWATER_SERVICE_NAME": "from-the-secret", "HEADWATER_PORT": "1", "UNKNOWN": "x"}
    service = await start_service(environment=aws.environment | {"HEADWATER_SECRETS_ARN": arn})
    async with service.client() as client:  # the port of the environment goes before
        assert (await client.get("/readyz")).status_code == 200
        with Postgres.connect(database_url) as conn:
            names = conn.execute("SELECT application_name FROM pg_stat_activity WHERE datname = current_database()")
            assert ("from-the-secret",) in names.fetchall()
