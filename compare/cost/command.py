"""`python -m compare cost`: the bills and the answer for one's own traffic."""

from pathlib import Path
from typing import Any

import click
import msgspec

from compare import results as kept
from compare.cost.options import FILE, of_cost, told_plainly, worked_out
from compare.cost.text import text


@click.command()
@of_cost
@click.option("--results", type=FILE, help="Length, bytes and cold starts of the streams of a run.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write everything here.")
def cost(results: Path | None, json_path: Path | None, **chosen: Any) -> None:
    """Work out what each home costs a month, and which one is for this traffic."""
    with told_plainly():
        told = worked_out(kept.read(results) if results else None, chosen)
        if json_path is not None:
            json_path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    click.echo(text(told))
