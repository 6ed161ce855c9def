"""Settings: of a home, of AWS, and of both together."""

import subprocess
import sys

import botocore.session
import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from app.aws import Aws, AwsError
from app.config import Settings
from tests.support.aws import REGION, running_aws, secret_arn
from tests.support.service import ROOT, clean_environment


def test_a_home_has_defaults_of_its_own_which_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_HOME", "lambda")
    monkeypatch.setenv("HEADWATER_RECORD_TICK", "0.2")
    settings = Settings(drain_grace=3)
    assert (settings.pool_min, settings.pool_max) == (0, 2)
    assert (settings.record_tick, settings.drain_grace) == (0.2, 3)
    assert (Settings(home="fargate").pool_min, Settings(home="fargate").pool_max) == (1, 5)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"database_auth": "iam"}, "AWS_REGION"),
        ({"database_auth": "secret"}, "database_secret_arn"),
        ({"lambda_function": "f", "home": "fargate"}, "home"),
    ],
)
def test_settings_that_do_not_fit_together_are_named_without_what_is_secret(
    settings: dict[str, str], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ValidationError) as caught:
        Settings(admin_key=SecretStr("planted-secret"), **settings)  # type: ignore[arg-type]
    assert word in str(caught.value)
    assert "planted-secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["planted-secret", ["planted-secret"], None])
def test_a_secret_that_cannot_be_read_says_so_and_not_what_is_in_it(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_aws() as aws:
        for name, setting in aws.environment.items():
            monkeypatch.setenv(name, setting)
        arn = secret_arn("settings")
        monkeypatch.setenv("HEADWATER_SECRETS_ARN", arn)
        aws.secrets[arn] = value
        if value is None:
            aws.refused.add("GetSecretValue")
        with pytest.raises(SettingsError) as caught:
            Settings()
        if value is None:
            assert "AccessDeniedException" in str(caught.value)
            done = subprocess.run(
                [sys.executable, "-m", "app"],
                cwd=ROOT,
                env=clean_environment(**aws.environment, HEADWATER_SECRETS_ARN=arn),
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
            assert (done.returncode, done.stderr) == (
                2,
                f"Settings: the secret {arn} cannot be read: AccessDeniedException\n",
            )
    assert arn in str(caught.value)
    assert "planted-secret" not in str(caught.value)


def test_a_token_is_the_one_that_the_sdks_own_client_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    host, user = "proxy.example.eu-west-1.rds.amazonaws.com", "head water"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    for _ in range(20):  # both in one second
        ours = Aws(REGION).database_token(host, 5432, user)
        client = botocore.session.get_session().create_client("rds", region_name=REGION)
        if ours == client.generate_db_auth_token(host, 5432, user):
            return
    pytest.fail("they differ")


def test_without_credentials_there_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(AwsError, match="no token for the database can be signed"):
        Aws(REGION).database_token("localhost", 5432, "me")
