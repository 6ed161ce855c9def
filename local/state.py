"""The folder `.data`: what is kept from one run to the next, and what other programs may read."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from local.errors import LaunchError, because


@dataclass(frozen=True, slots=True)
class Run:
    """A running Headwater, for scripts that use it (`run.json`)."""

    url: str
    admin_key: str
    key: str
    model: str
    database_url: str
    upstream_url: str
    upstream_simulated: bool
    pid: int
    app_pid: int
    workflow: str | None = None
    """The ARN of the state machine that runs batches, and where Step Functions' API is."""
    workflow_url: str | None = None


@dataclass(frozen=True, slots=True)
class DataFolder:
    """One launcher at a time is first: it has the lock, may start the embedded Postgres and writes `run.json`."""

    path: Path
    first: bool

    def admin_key(self) -> str:
        """Made once, kept for good."""
        return self.secret("admin_key") or self.keep_secret("admin_key", "hw_admin_" + secrets.token_urlsafe(32))

    def secret(self, name: str) -> str | None:
        with suppress(FileNotFoundError):
            return (self.path / name).read_text().strip() or None
        return None

    def keep_secret(self, name: str, secret: str) -> str:
        _write_private(self.path / name, secret + "\n")
        return secret

    def own(self, stem: str, port: int) -> Path:
        """A file of this launcher: `run.json` of the first, `run-8081.json` of one beside it."""
        return self.path / (f"{stem}.json" if self.first else f"{stem}-{port}.json")

    def first_run(self) -> Run | None:
        """What the first launcher wrote, if this is one beside it."""
        if self.first:
            return None
        with suppress(FileNotFoundError, ValueError, TypeError):
            return Run(**json.loads((self.path / "run.json").read_text()))
        return None

    @contextmanager
    def published(self, run: Run, port: int) -> Iterator[None]:
        path = self.own("run", port)
        _write_private(path, json.dumps(asdict(run), indent=2) + "\n")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def open_data_folder(path: Path) -> Iterator[DataFolder]:
    """Make the folder if need be and try its lock, which ends with the process, however that ends.

    Raises:
        LaunchError: it cannot be written.
    """
    with _usable(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (path / "lock").open("w")
    with lock:
        folder = DataFolder(path, first=_locked(lock.fileno()))
        if folder.first:
            (path / "run.json").unlink(missing_ok=True)  # of a launcher that was killed
        yield folder


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LaunchError(f"The data folder {path} cannot be used: {because(error)}.") from error


def _locked(file: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _write_private(path: Path, text: str) -> None:
    """Replace the file as a whole; nobody else can read it at any moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - takes a mode
        file.write(text)
    draft.replace(path)
