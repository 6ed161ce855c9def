"""`python -m local` as a person starts it, in a folder of its own and on free ports."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from app.domain.ids import uuid7

ROOT = Path(__file__).parents[2]
# What a developer's own shell may set would change what is tested.
_FOREIGN = ("ANTHROPIC_", "HEADWATER_", "DATABASE_URL", "PG")


@dataclass(frozen=True)
class Launched:
    process: subprocess.Popen[str]
    run_file: Path
    terminal: Path

    @property
    def run(self) -> dict[str, Any]:
        run: dict[str, Any] = json.loads(self.run_file.read_text())
        return run

    @property
    def said(self) -> str:
        return self.terminal.read_text()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def exit_code(self) -> int:
        return self.process.wait(timeout=10)


@contextmanager
def launched(data: Path, *options: str, **settings: str) -> Iterator[Launched]:
    """Ready for use, and ended as by Ctrl-C in its terminal if the test has not ended it."""
    terminal = data / f"terminal-{uuid7()}.txt"
    with terminal.open("w") as output, _started(data, output, settings, options) as process:
        try:
            yield Launched(process, _wait_for_run_file(data, process, terminal), terminal)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)


def _started(
    data: Path, output: IO[str] | int, settings: Mapping[str, str], options: Sequence[str] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local", *options],
        cwd=ROOT,
        env=_environment(data, settings),
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _environment(data: Path, settings: Mapping[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**ours, "HEADWATER_DATA_DIR": str(data), "HEADWATER_PORT": "0", **settings}


def _wait_for_run_file(data: Path, process: subprocess.Popen[str], terminal: Path) -> Path:
    patience = time.monotonic() + 30
    while time.monotonic() < patience and process.poll() is None:
        for file in data.glob("run*.json"):
            if json.loads(file.read_text())["pid"] == process.pid:
                return file
        time.sleep(0.05)
    raise AssertionError(f"not ready: {terminal.read_text()}")


def refusal(data: Path, **settings: str) -> str:
    """What a start that cannot succeed says: one sentence, and a failure."""
    with _started(data, subprocess.PIPE, settings) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1, said
    assert re.fullmatch(r"Error: .*\.\n", said), said
    return said.removeprefix("Error: ").rstrip()


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    """Ended, that is; whoever inherits an orphan may take its time to collect it."""
    patience = time.monotonic() + seconds
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        if time.monotonic() > patience:
            return False
        time.sleep(0.01)
    return True
