"""As what Lambda's home of a comparison runs, and that it is said."""

from pathlib import Path

import pytest

from local.errors import LaunchError
from local.lambda_home import LambdaHome, choose_lambda_home


def test_an_image_that_is_named_has_to_be_there() -> None:
    with pytest.raises(LaunchError, match="no image headwater-of-nobody"):
        choose_lambda_home("headwater-of-nobody", processes=False)


def test_processes_with_the_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = "processes, behind a stand-in for the web adapter"
    assert choose_lambda_home(None, processes=True) == LambdaHome(None, told)


def test_processes_with_the_adapter_that_was_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = tmp_path / "headwater" / "adapter-1.2.3-rc1" / "bin" / "lambda-adapter"
    built.parent.mkdir(parents=True)
    built.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose_lambda_home(None, processes=True).told == "processes, behind the web adapter 1.2.3-rc1"
