"""`python -m compare`: which home for your traffic, measured and worked out."""

import click

from compare.cost.command import cost
from compare.load.command import run
from compare.report.command import diff, report


@click.group()
def main() -> None:
    """Compare the homes of one image: their speed, their failures and what they cost."""


for command in (run, report, diff, cost):
    main.add_command(command)

if __name__ == "__main__":
    main()
