"""The options that say what is to be worked out, for every command that works it out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from compare.cost.answer import HOMES, Answer, answer
from compare.cost.plan import Plan, plan
from compare.cost.prices import PRICES, load
from compare.results import Results

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS: Final = (
    click.option("--plan", type=FILE, help="TOML with [traffic] and [deployment.*]; see docs/compare.md."),
    click.option("--cloudwatch", type=FILE, help="Traffic as CloudWatch counted it; see docs/compare.md."),
    click.option("--streams-per-hour", type=click.FloatRange(0), help="Mean of all hours of a month."),
    click.option("--stream-seconds", type=click.FloatRange(0), help="Mean length of a stream."),
    click.option("--bytes", type=click.FloatRange(0), help="Sent to the client, of one stream."),
    click.option("--peak", type=click.FloatRange(1, 24), help="The busiest hour of a day over the mean."),
    click.option("--cold-share", type=click.FloatRange(0, 1), help="Of the requests, those that start an environment."),
    click.option("--memory", type=click.IntRange(128, 10240), help="Of the function, in MB."),
    click.option("--provisioned", type=click.IntRange(0), help="Environments that are kept ready."),
    click.option("--streams-per-task", type=click.IntRange(1), help="What a task of Fargate holds."),
    click.option(
        "--instance-price", type=click.FloatRange(0), help="Of an EC2 instance of Managed Instances, an hour."
    ),
    click.option("--home", "homes", multiple=True, type=click.Choice(HOMES), help="All by default."),
    click.option("--region", help="One that the file of prices has."),
    click.option("--prices", type=FILE, default=PRICES, help="Prices of your own, in the same form."),
)
# Where an option lies in a plan.
_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "streams_per_hour": ("traffic", "streams_per_hour"),
    "stream_seconds": ("traffic", "stream_seconds"),
    "bytes": ("traffic", "bytes"),
    "peak": ("traffic", "peak"),
    "cold_share": ("traffic", "cold_share"),
    "memory": ("deployment", "lambda", "memory"),
    "provisioned": ("deployment", "lambda", "provisioned"),
    "streams_per_task": ("deployment", "fargate", "streams_per_task"),
    "instance_price": ("deployment", "managed_instances", "price"),
    "region": ("deployment", "region"),
}


def of_cost(command: _Function) -> _Function:
    """Gives a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def told_plainly() -> Iterator[None]:
    """What is wrong with a file or a number is said in a sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def worked_out(results: Results | None, chosen: Mapping[str, Any]) -> Answer:
    """The answer to `chosen`, the values of the options above.

    Raises:
        OSError: a file cannot be read.
        ValueError: there is something wrong with it, or with a number.
    """
    made = _overridden(plan(chosen["plan"], results, chosen["cloudwatch"]), chosen)
    prices = load(made.deployment.region, chosen["prices"])
    return answer(made.deployment, made.traffic, prices, chosen["homes"] or HOMES)


def _overridden(made: Plan, chosen: Mapping[str, Any]) -> Plan:
    """With the options that were given in place of what the plan has."""
    whole: dict[str, Any] = msgspec.to_builtins(made)
    for option, (*tables, name) in _PLACES.items():
        if chosen[option] is not None:
            within = whole
            for table in tables:
                within = within[table]
            within[name] = chosen[option]
    if chosen["peak"] is not None:
        # In place of the hours that an export told.
        whole["traffic"]["hours"] = []
    return msgspec.convert(whole, Plan)
