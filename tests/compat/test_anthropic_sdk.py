"""The official `anthropic` SDK as a client, in both major versions that are in use: sdk_checks.py has the checks."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.headwater import running
from tests.support.postgres import Postgres

ROOT: Final = Path(__file__).parents[2]
CHECKS: Final = Path(__file__).with_name("sdk_checks.py")
OLD_ENVIRONMENT: Final = ROOT / ".venv-anthropic-0"
DISCONNECT_GRACE: Final = 1.0


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "python",
    [
        pytest.param(Path(sys.executable), id="anthropic-2"),
        pytest.param(OLD_ENVIRONMENT / "bin/python", id="anthropic-0", marks=pytest.mark.compat),
    ],
)
async def test_official_sdk(postgres: Postgres, tmp_path: Path, python: Path) -> None:
    assert shutil.which(python), f"{python} is missing: make {OLD_ENVIRONMENT.name}/.installed"
    async with running(postgres, tmp_path, max_retries=0, disconnect_grace=DISCONNECT_GRACE) as headwater:
        process = await asyncio.create_subprocess_exec(
            str(python),
            *(
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-q",
                "--tb=short",
                f"--confcutdir={CHECKS.parent}",
                str(CHECKS),
            ),
            cwd=ROOT,
            env={
                "PATH": "/usr/bin:/bin",
                "TEST_URL": headwater.service.url,
                "TEST_KEY": headwater.service.key,
                "TEST_UPSTREAM": headwater.upstream.url,
                "TEST_DISCONNECT_GRACE": str(DISCONNECT_GRACE),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, output.decode(errors="replace")
