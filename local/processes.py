"""Child processes: started apart from the terminal, watched, and ended with everything they started."""

import ctypes
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from local.errors import LaunchError

# `python -m app` and the like find their modules here.
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises: LaunchError: it has ended, which only its launcher may bring about."""
        code = self.process.poll()
        if code is not None:
            raise LaunchError(f"{self.name} ended unexpectedly, {_how(code)}.")


def _how(code: int) -> str:
    return f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    log: IO[bytes] | None = None,
    account: pwd.struct_passwd | None = None,
    dies_with_us: bool = False,
    signals: Sequence[signal.Signals] = (signal.SIGTERM,),
    patience: float = 1.0,
) -> Iterator[Child]:
    """A child in a session of its own, so that Ctrl-C reaches the launcher alone, which ends it in order.

    The end is made with each of `signals`, `patience` seconds apart, and then by force.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and [],
        preexec_fn=die_with_parent() if dies_with_us else None,  # noqa: PLW1509 - the launcher has no threads
    )
    try:
        yield Child(name, process)
    finally:
        _end(process, signals, patience)


def run_to_end(
    command: Sequence[str], environment: Mapping[str, str], account: pwd.struct_passwd | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and [],
    )


def _end(process: subprocess.Popen[bytes], signals: Sequence[signal.Signals], patience: float) -> None:
    try:
        for number in signals:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
    finally:
        _kill_session(process.pid)
        process.wait()


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def die_with_parent() -> Callable[[], object] | None:
    """A killed launcher shall leave no app that still answers. Only Linux can; elsewhere the next start clears up."""
    if sys.platform != "linux":
        return None
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGKILL)


def wait_until(condition: Callable[[], bool], children: Sequence[Child], seconds: float) -> bool:
    """False when time is up.

    Raises:
        LaunchError: one of the children ended meanwhile.
    """
    end_of_patience = time.monotonic() + seconds
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > end_of_patience:
            return False
        time.sleep(0.05)
    return True


# --- What a killed launcher left behind ---


@contextmanager
def remembered(children: Sequence[Child], path: Path) -> Iterator[None]:
    """Note pid and time of start, which together name a process for good."""
    pids = [os.getpid(), *(child.process.pid for child in children)]
    path.write_text(json.dumps([[pid, psutil.Process(pid).create_time()] for pid in pids]))
    try:
        yield
    finally:
        path.unlink()


def clear_up(path: Path) -> None:
    """End what the launcher that wrote `path` left running; nothing if that one still lives."""
    launcher, *children = _read(path) or [None]
    if launcher is None:
        for child in filter(None, children):
            _kill_session(child.pid)


def _read(path: Path) -> list[psutil.Process | None]:
    with suppress(FileNotFoundError, ValueError, TypeError):
        return [_still_there(pid, started) for pid, started in json.loads(path.read_text())]
    return []


def _still_there(pid: int, started: float) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if abs(process.create_time() - started) < 1:
            return process
    return None
