"""`python -m compare run`: the same load on several targets, and what was seen of each."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import psutil
import uvloop

from compare import results, text
from compare.load import address, trace
from compare.load.asking import Asker
from compare.load.dialects import DIALECTS
from compare.load.limits import Budget, TokenPrices
from compare.load.measure import Plan, measure
from compare.load.processes import Processes
from compare.load.profiles import SHAPES, Load

_KEY: Final = "COMPARE_KEY"
_POSITIVE: Final = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--target", "targets", multiple=True, required=True, metavar="NAME=URL", help="Any number of them.")
@click.option("--process", "pids", multiple=True, metavar="NAME=PID", help="Of a target on this machine: its CPU too.")
@click.option("--note", "notes", multiple=True, metavar="NAME=TEXT", help="Of a target, for the report.")
@click.option("--profile", type=click.Choice(sorted(SHAPES)), default="steady", show_default=True)
@click.option("--trace", "trace_path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Replay it.")
@click.option("--speed", type=_POSITIVE, default=1.0, show_default=True, help="Of the replay.")
@click.option("--rate", type=_POSITIVE, default=2.0, show_default=True, help="Requests a second to each target.")
@click.option("--seconds", type=_POSITIVE, default=60.0, show_default=True, help="Of the load, and its limit.")
@click.option("--warmup", type=click.FloatRange(min=0), default=5.0, show_default=True, help="Seconds left out.")
@click.option("--requests", type=click.IntRange(1), default=100_000, show_default=True, help="In all; a limit.")
@click.option("--dollars", type=_POSITIVE, help="A limit on what the tokens cost; needs --token-prices.")
@click.option("--token-prices", type=(float, float), metavar="IN OUT", help="US dollars of a million tokens.")
@click.option("--patience", type=_POSITIVE, default=300.0, show_default=True, help="Seconds that a stream may take.")
@click.option("--dialect", type=click.Choice(sorted(DIALECTS)), default="plain", show_default=True)
@click.option("--model", default="claude-haiku-4-5", show_default=True)
@click.option("--input-tokens", type=click.IntRange(1), default=100, show_default=True)
@click.option("--output-tokens", type=click.IntRange(1), default=200, show_default=True, help="At the most.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same arrivals again.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default="compare.json", show_default=True)
def run(
    targets: Sequence[str],
    pids: Sequence[str],
    notes: Sequence[str],
    profile: str,
    trace_path: Path | None,
    speed: float,
    rate: float,
    seconds: float,
    warmup: float,
    requests: int,
    dollars: float | None,
    token_prices: tuple[float, float] | None,
    patience: float,
    dialect: str,
    model: str,
    input_tokens: int,
    output_tokens: int,
    seed: int,
    output: Path,
) -> None:
    """Measure targets side by side. Each gets the same requests at the same moments.

    A target's key is read from COMPARE_KEY_<NAME>, or else COMPARE_KEY; no file has it. Ctrl-C ends the run and keeps
    what there is.
    """
    if dollars is not None and token_prices is None:
        raise click.UsageError("--dollars needs --token-prices.")
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.parent}.", param_hint="--output")
    load: Load
    if trace_path is not None:
        load = _trace(trace_path, speed)
    else:
        load = SHAPES[profile](seconds=seconds, rate=rate, input_tokens=input_tokens, output_tokens=output_tokens)
    prices = TokenPrices(*token_prices) if token_prices else None
    asker = Asker(DIALECTS[dialect], model, patience)
    plan = Plan(_addresses(targets), load, asker, warmup, seed, _processes(pids), _notes(notes))
    budget = Budget(seconds=seconds, requests=requests, dollars=dollars, prices=prices)
    found = uvloop.run(measure(plan, budget, _say, every=1.0 if sys.stderr.isatty() else 10.0))
    results.write(found, output)
    click.echo(text.table(found))
    click.echo(f"\nThe results are in {output}.")


def _addresses(targets: Sequence[str]) -> list[address.Address]:
    names = [target.partition("=")[0] for target in targets]
    if len(set(names)) < len(names):
        raise click.UsageError("Two targets have the same name.")
    try:
        return [address.parse(target, _key(name)) for target, name in zip(targets, names, strict=True)]
    except address.AddressError as error:
        raise click.BadParameter(str(error), param_hint="--target") from None


def _key(name: str) -> str | None:
    own = f"{_KEY}_{name.upper().replace('-', '_')}"
    return os.environ.get(own) or os.environ.get(_KEY) or None


def _processes(pids: Sequence[str]) -> dict[str, Processes]:
    found = {}
    for named in pids:
        name, _, pid = named.partition("=")
        try:
            found[name] = Processes(int(pid))
        except (ValueError, psutil.Error):
            raise click.BadParameter(f"{named!r} names no process: say NAME=PID.", param_hint="--process") from None
    return found


def _notes(notes: Sequence[str]) -> dict[str, str]:
    found = {}
    for note in notes:
        name, _, text = note.partition("=")
        if not text:
            raise click.BadParameter(f"{note!r} says nothing: say NAME=TEXT.", param_hint="--note")
        found[name] = text
    return found


def _trace(path: Path, speed: float) -> trace.Replay:
    try:
        return trace.read(path, speed)
    except (OSError, trace.TraceError) as error:
        raise click.BadParameter(str(error), param_hint="--trace") from None


def _say(line: str) -> None:
    click.echo(f"\r{line}" if sys.stderr.isatty() else line, err=True, nl=not sys.stderr.isatty())
