"""`make compare`: both homes on this machine, measured under one load, and a report.

With the image it is tested where that has been built (`tests/runtimes/homes`).
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare.results import read
from tests.support.service import ROOT, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_COMPARISON = (sys.executable, "-m", "local.comparison")


def test_both_homes_are_measured_and_reported(tmp_path: Path) -> None:
    done = subprocess.run(
        [*_COMPARISON, "--data", str(tmp_path), "--seconds", "20", "--rate", "1", "--no-image"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Lambda's is processes, behind " in done.stdout
    results = read(tmp_path / "results.json")
    assert [target.name for target in results.targets] == ["fargate", "lambda"]
    for target in results.targets:
        assert target.home == target.name
        assert target.counts.whole > 0
        assert target.usage is not None
        assert 0 < target.usage.cores < 16
        assert target.usage.memory > 50_000_000
        # A stream may also fail after it has said so.
        assert target.starts.told >= target.counts.requests - target.counts.failed
        # What the homes add is less than all, and the upstream's 300 ms are not theirs.
        assert target.measures["ttft"].p50.value > 300
        assert 0 < target.measures["added_ttft"].p50.value < target.measures["ttft"].p50.value
    page = (tmp_path / "report.html").read_text()
    assert "fargate" in page
    assert "lambda" in page
    assert "(processes, behind " in page
    for text in (page, (tmp_path / "results.json").read_text(), done.stdout, done.stderr):
        assert not re.search(r"hw_[A-Za-z0-9_-]{12}", text)
