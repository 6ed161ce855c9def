"""`python -m local`: Headwater on one person's machine, with a Postgres and an upstream of its own."""

import signal
from pathlib import Path
from types import FrameType

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.config import Settings
from local.errors import LaunchError, because
from local.launcher import Options, launch

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option(
    "--data",
    envvar="HEADWATER_DATA_DIR",
    default=".data",
    show_default=True,
    type=click.Path(path_type=Path, resolve_path=True),
    help="Folder of the database, keys and logs.",
)
@click.option("--model", envvar="HEADWATER_MODEL", help="Model named in the example; default: one that fits.")
@click.option("--reload", is_flag=True, help="Start the app anew when its code changes.")
@click.option("--on-lambda", is_flag=True, help="Run the app as a function of AWS Lambda, emulated here.")
@click.option("--workflow", is_flag=True, help="The same, with a state machine that runs batches.")
def main(data: Path, model: str | None, reload: bool, on_lambda: bool, workflow: bool) -> None:
    """Start Headwater on this machine; Ctrl-C ends it. Its settings are read from the environment."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    if reload and (on_lambda or workflow):
        raise click.UsageError("--reload is not for --on-lambda and --workflow.")
    try:
        launch(Options(data=data, model=model, reload=reload, on_lambda=on_lambda, workflow=workflow), _settings())
    except KeyboardInterrupt:
        click.echo("Headwater has ended.")
    except OSError as error:  # a full disk, a file of another user
        where = f" ({error.filename})" if error.filename else ""
        raise LaunchError(f"Headwater cannot go on: {because(error)}{where}.") from error


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Once: what ends the children must not be interrupted itself."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise LaunchError(f"These settings do not fit: {problems}.") from error
    except SettingsError as error:
        raise LaunchError(f"The settings cannot be read: {because(error)}.") from error


if __name__ == "__main__":
    main()
