"""Child processes of `make run`: ended with all they started, also those of a launcher that was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local.errors import LaunchError
from local.processes import clear_up, remembered, running, wait_until
from tests.runtimes.launched import gone

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
    "time.sleep(60)\n",
]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        yield process
        process.kill()


def _killed_launcher() -> list[float]:
    with subprocess.Popen(SLEEPER) as process:
        started = psutil.Process(process.pid).create_time()
        process.kill()
    return [process.pid, started]


def test_child_that_ignores_signals_ends_with_its_own_children(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as log:
        with running("Stubborn", STUBBORN, os.environ, log=log, patience=0.2) as child:
            assert wait_until(lambda: (tmp_path / "out").read_text().endswith("\n"), [child], 10)
            grandchild = psutil.Process(int((tmp_path / "out").read_text()))
            started = time.monotonic()
        assert time.monotonic() - started < 1
    assert child.process.returncode == -signal.SIGKILL
    assert gone([grandchild], 1)


def test_waiting_ends_with_the_child_and_says_how_it_ended() -> None:
    with (
        running("Brief", [sys.executable, "-c", "raise SystemExit(3)"], os.environ) as child,
        pytest.raises(LaunchError, match="Brief ended unexpectedly, with exit code 3"),
    ):
        wait_until(lambda: False, [child], 10)


def test_children_of_a_killed_launcher_are_ended(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    left = [stranger.pid, psutil.Process(stranger.pid).create_time()]
    (tmp_path / "children.json").write_text(json.dumps([_killed_launcher(), left]))
    clear_up(tmp_path / "children.json")
    assert stranger.wait(5) == -signal.SIGKILL


def test_process_that_got_a_dead_childs_number_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    (tmp_path / "children.json").write_text(json.dumps([_killed_launcher(), [stranger.pid, 1.0]]))
    clear_up(tmp_path / "children.json")
    assert stranger.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[3]", "null"])
def test_damaged_note_is_no_hindrance(tmp_path: Path, text: str) -> None:
    (tmp_path / "children.json").write_text(text)
    clear_up(tmp_path / "children.json")


def test_children_of_a_living_launcher_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "children.json"
    with running("Sleeper", SLEEPER, os.environ) as child, remembered([child], path):
        clear_up(path)
        assert child.process.poll() is None
    assert not path.exists()
