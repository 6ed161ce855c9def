"""`python -m compare`: which home for your traffic, measured and worked out."""

import click

from compare.load.command import run


@click.group()
def main() -> None:
    """Compare the homes of one image: their speed, their failures and what they cost."""


main.add_command(run)

if __name__ == "__main__":
    main()
