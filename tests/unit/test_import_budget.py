"""What each entry point imports before its first request: the time of a cold start, and it must not creep.

Counted in modules of a fresh interpreter, beside what FastAPI alone brings on the same Python.
"""

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.support.service import ROOT

# A fifth above what it is, for the next Python and the next versions of what we build on.
BUDGETS: Final = {
    "app.__main__": ("fastapi, uvicorn", 2.2),
    "app.entrypoints.lambda_handler": ("fastapi, mangum", 2.2),
    "app.db.migrate": ("alembic, sqlalchemy, psycopg", 1.6),
}
# They are imported when they are first needed, if ever: a request that only reads never does.
DEAR: Final = (
    "aiohttp",
    "alembic",
    "anthropic",
    "app.openapi",
    "aws_xray_sdk",
    "boto3",
    "botocore.session",
    "genai_prices",
    "httpx2",
    "opentelemetry.sdk",
    "prometheus_client",
    "sqlalchemy",
)


def imported(modules: str) -> set[str]:
    script = f"import {modules}; import sys; print(' '.join(sys.modules))"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=ours, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("entry", BUDGETS)
def test_modules_stay_within_the_budget(entry: str) -> None:
    beside, times = BUDGETS[entry]
    ours, theirs = len(imported(entry)), len(imported(beside))
    assert ours <= times * theirs, f"{ours} modules, {ours / theirs:.2f} of {theirs} for {beside}"


@pytest.mark.parametrize("entry", ["app.__main__", "app.entrypoints.lambda_handler"])
def test_nothing_dear_is_imported_at_the_start(entry: str) -> None:
    assert sorted(imported(entry).intersection(DEAR)) == []
