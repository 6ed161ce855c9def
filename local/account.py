"""Another user for a program that refuses to run as root."""

import fcntl
import os
import pwd
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from local.errors import LaunchError

NAME = "pgserver"


def account_beside_root(needs: Iterable[Path]) -> pwd.struct_passwd | None:
    """None where nobody is root. The account gets a way through to the paths it needs.

    Raises:
        LaunchError: it cannot be made.
    """
    if os.geteuid() != 0:
        return None
    with _one_at_a_time():
        account = _found() or _made()
    for path in needs:
        for folder in path.parents:
            _let_pass(folder)
    return account


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two launchers at once on a new machine would each make the user, and one of the two would be overwritten.

    The lock is the folder of the accounts, which `useradd` leaves in its place when it exchanges the files.
    """
    folder = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _found() -> pwd.struct_passwd | None:
    with suppress(KeyError):
        return pwd.getpwnam(NAME)
    return None


def _made() -> pwd.struct_passwd:
    try:
        subprocess.run(["useradd", "--system", "--no-create-home", NAME], check=True, capture_output=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(
            f"Postgres does not run as root, and a user {NAME} could not be made: run this as an ordinary user."
        ) from error
    return pwd.getpwnam(NAME)


def _let_pass(folder: Path) -> None:
    """Others may pass through the folder on their way, and see nothing of what is in it."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | stat.S_IXOTH)


def give(path: Path, account: pwd.struct_passwd | None) -> None:
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)
