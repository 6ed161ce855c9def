"""How connections log in: where a password comes from that may change, and whose certificates are believed."""

import logging
import ssl
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict

from app.aws import Aws, AwsError
from app.config import Settings

_log = logging.getLogger(__name__)

# What was read is used for so many seconds of the wall clock: a restored memory snapshot must not be fresh.
_SECRET_LASTS: Final = 300.0
_ASKED_AGAIN: Final = 30.0

# Parameters of libpq.
Parameters = dict[str, Any]
Login = Callable[[], Parameters]


def login_of(settings: Settings) -> Login | None:
    """What gives the user and the password of the next connection, where the URL does not. It asks AWS, and blocks.

    Raises:
        AwsError: by what is given back: AWS does not answer.
    """
    aws = Aws(settings.aws_region)
    match settings.database_auth:
        case "url":
            return None
        case "iam":
            url = conninfo_to_dict(settings.database_url.get_secret_value())
            host, port, user = str(url["host"]), int(url.get("port") or 5432), str(url["user"])
            return lambda: {"password": aws.database_token(host, port, user)}
        case "secret":
            assert settings.database_secret_arn is not None
            return RotatedSecret(aws, settings.database_secret_arn)


class RotatedSecret:
    """A user and a password in Secrets Manager, which may be changed there while this process runs."""

    def __init__(self, aws: Aws, arn: str) -> None:
        self._aws = aws
        self._arn = arn
        self._read_at = 0.0
        self._value: Parameters = {}
        self._reading = Lock()

    def __call__(self) -> Parameters:
        with self._reading:
            if not 0 <= time.time() - self._read_at < _SECRET_LASTS:
                self._read_or_keep()
            return self._value

    def other_than(self, refused: Parameters) -> Parameters | None:
        """What to try where the server has refused this; None if it has not been changed."""
        with self._reading:
            if self._value == refused:
                self._read()
            return self._value if self._value != refused else None

    def _read_or_keep(self) -> None:
        """While AWS does not answer, what was good until now may be so still."""
        try:
            self._read()
        except AwsError as exc:
            if not self._value:
                raise
            _log.warning("the database's secret cannot be read again: %s", exc)
            self._read_at = time.time() - _SECRET_LASTS + _ASKED_AGAIN

    def _read(self) -> None:
        secret = self._aws.secret(self._arn)
        try:
            self._value = {"user": secret["username"], "password": secret["password"]}
        except KeyError as exc:
            raise AwsError(f"the secret {self._arn} has no {exc}") from None
        self._read_at = time.time()


def trusted(database_url: str) -> Parameters:
    """Where the certificates are that `sslrootcert=system` means: psycopg's wheel has an OpenSSL that knows of none."""
    if conninfo_to_dict(database_url).get("sslrootcert") != "system":
        return {}
    import certifi

    return {"sslrootcert": ssl.get_default_verify_paths().cafile or certifi.where()}
