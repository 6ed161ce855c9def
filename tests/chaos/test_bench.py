"""The benchmark still measures: its servers start, its loads end, nothing breaks. What it finds is no test's matter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_round_through_headwater_and_the_naive_server(tmp_path: Path) -> None:
    results, picture = tmp_path / "results.json", tmp_path / "picture.svg"
    chosen = ["--rounds", "1", "--mode", "paced20", "--server", "headwater", "--server", "naive"]
    written = ["--json", str(results), "--plot", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "relay", *chosen, *written],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    measured = json.loads(results.read_text())["measured"]
    assert {each["server"]: (each["events"], each["broken"]) for each in measured} == {
        "headwater": (20 * 192, 0),
        "naive": (20 * 192, 0),
    }
    assert all(each["cpu_per_event"] > 0 for each in measured)
    assert "<svg" in picture.read_text()
