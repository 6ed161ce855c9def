import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "hw-race-test"
MAKE = f"from local import account; account.NAME = {NAME!r}; print(account.account_beside_root([]).pw_uid)"


@pytest.fixture
def no_account() -> Iterator[None]:
    yield
    subprocess.run(["userdel", NAME], check=True)  # noqa: S607 - where it lies differs


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
@pytest.mark.usefixtures("no_account")
def test_launchers_that_start_together_make_one_account() -> None:
    launchers = [
        subprocess.Popen([sys.executable, "-c", MAKE], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    ids = {launcher.communicate(timeout=30)[0].strip() for launcher in launchers}
    assert ids == {str(pwd.getpwnam(NAME).pw_uid)}
