"""`python -m compare cost`: the bills and the answer for one's own traffic."""

from pathlib import Path
from typing import Any

import click
import msgspec

from compare import results as kept
from compare.cost.answer import HOMES, Answer, answer
from compare.cost.bill import Home
from compare.cost.plan import Plan, plan
from compare.cost.prices import PRICES, load
from compare.cost.text import text

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--plan", "plan_file", type=_FILE, help="TOML with [traffic] and [deployment.*]; see docs/compare.md.")
@click.option("--results", type=_FILE, help="Length, bytes and cold starts of the streams of a run.")
@click.option("--cloudwatch", type=_FILE, help="Traffic as CloudWatch counted it; see docs/compare.md.")
@click.option("--streams-per-hour", type=click.FloatRange(0), help="Mean of all hours of a month.")
@click.option("--stream-seconds", type=click.FloatRange(0), help="Mean length of a stream.")
@click.option("--bytes", type=click.FloatRange(0), help="Sent to the client, of one stream.")
@click.option("--peak", type=click.FloatRange(1, 24), help="The busiest hour of a day over the mean.")
@click.option("--memory", type=click.IntRange(128, 10240), help="Of the function, in MB.")
@click.option("--provisioned", type=click.IntRange(0), help="Environments that are kept ready.")
@click.option("--streams-per-task", type=click.IntRange(1), help="What a task of Fargate holds.")
@click.option("--instance-price", type=click.FloatRange(0), help="Of an EC2 instance of Managed Instances, an hour.")
@click.option("--home", "homes", multiple=True, type=click.Choice(HOMES), help="All by default.")
@click.option("--region", help="One that the file of prices has.")
@click.option("--prices", "prices_file", type=_FILE, default=PRICES, help="Prices of your own, in the same form.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything here.")
def cost(
    plan_file: Path | None,
    results: Path | None,
    cloudwatch: Path | None,
    homes: tuple[Home, ...],
    region: str | None,
    prices_file: Path,
    json_path: Path | None,
    **numbers: float | None,
) -> None:
    """Work out what each home costs a month, and which one is for this traffic."""
    try:
        measured = kept.read(results) if results else None
        chosen = override(plan(plan_file, measured, cloudwatch), region, numbers)
        told = worked_out(chosen, prices_file, homes or HOMES)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(text(told))
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")


def worked_out(chosen: Plan, prices: Path, homes: tuple[Home, ...] = HOMES) -> Answer:
    return answer(chosen.deployment, chosen.traffic, load(chosen.deployment.region, prices), homes)


# Where an option lies in a plan.
_PLACES: dict[str, tuple[str, ...]] = {
    "streams_per_hour": ("traffic", "streams_per_hour"),
    "stream_seconds": ("traffic", "stream_seconds"),
    "bytes": ("traffic", "bytes"),
    "peak": ("traffic", "peak"),
    "memory": ("deployment", "lambda", "memory"),
    "provisioned": ("deployment", "lambda", "provisioned"),
    "streams_per_task": ("deployment", "fargate", "streams_per_task"),
    "instance_price": ("deployment", "managed_instances", "price"),
    "region": ("deployment", "region"),
}


def override(made: Plan, region: str | None, numbers: dict[str, float | None]) -> Plan:
    """With the options that were given in place of what the plan has."""
    whole: dict[str, Any] = msgspec.to_builtins(made)
    for name, value in {**numbers, "region": region}.items():
        if value is not None:
            _put(whole, _PLACES[name], value)
    return msgspec.convert(whole, Plan)


def _put(whole: dict[str, Any], place: tuple[str, ...], value: float | str) -> None:
    *tables, name = place
    for table in tables:
        whole = whole[table]
    whole[name] = value
