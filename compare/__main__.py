"""`python -m compare`: which home for your traffic, measured and worked out."""

import click

from compare.cost.command import cost
from compare.report.command import report


@click.group()
def main() -> None:
    """Compare the homes of one image: their speed, their failures and what they cost."""


main.add_command(cost)
main.add_command(report)

if __name__ == "__main__":
    main()
