"""What goes wrong on one person's machine, said in one sentence."""

import click


class LaunchError(click.ClickException):
    """Ends the command with exit code 1 and `Error: <sentence>`; no stack trace."""


def because(error: BaseException) -> str:
    """The first line of what an error says, for the end of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
