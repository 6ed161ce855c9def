"""Figures as SVG that lies inside of the page and takes its colours from there, so that they follow light and dark.

Matplotlib knows no variables of CSS: it draws with colours that stand for them, which are replaced in its output.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Final, Literal

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from compare.cost.answer import HOMES
from compare.cost.bill import number

INK: Final = "#010101"
FAINT: Final = "#020202"
# Of targets and homes, in their order; each comes with a line and a mark of its own, for those who see no colours.
SERIES: Final = ("#030303", "#040404", "#050505", "#060606", "#070707", "#080808")
DASHES: Final = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKS: Final = ("o", "s", "^", "D", "v", "P")
_VARIABLES: Final = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
}
_STYLE: Final = Path(__file__).with_name("figures.mplstyle")
_UNNAMED: Final = ("Creator", "Date", "Format", "Type")
_WIDTH: Final = 5.8

_ROOM: Final = 300
# Longer names would leave no room for the figure; tables have them whole.
_NAME: Final = 24
Style = tuple[str, str | tuple[float, tuple[float, ...]], str]
"""Colour, dashes and mark of a series."""
_ALL: Final[tuple[Style, ...]] = tuple(zip(SERIES, DASHES, MARKS, strict=True))


def short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def styles(homes: Sequence[str | None]) -> list[Style]:
    """One for each. A home has the same in all figures; of those in the same home, the first has it."""
    taken = dict(zip(HOMES, _ALL, strict=False))
    unused = (style for home, style in taken.items() if home not in homes)
    left = cycle([*unused, *_ALL[len(HOMES) :]])
    return [taken.pop(home) if home in taken else next(left) for home in homes]


class Drawing:
    """A figure while it is drawn; `svg` is it as markup, once it is drawn."""

    def __init__(self, height: float) -> None:
        self._figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        self.axes: Axes = self._figure.subplots()
        self.svg = Markup()

    def logarithmic(self, *sides: Literal["x", "y"]) -> None:
        """Scales of what is drawn so far, in plain numbers; with ticks at 2 and 5 too where there is room for them."""
        for side in sides:
            self.axes.set(**{f"{side}scale": "log"})
            axis = self.axes.xaxis if side == "x" else self.axes.yaxis
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < low * _ROOM else (1,)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axis.set_minor_locator(NullLocator())

    def finish(self, name: str, says: str) -> None:
        raw = io.BytesIO()
        self._figure.savefig(raw, format="svg", metadata=dict.fromkeys(_UNNAMED))
        self.svg = _inline(raw.getvalue().decode(), name, says)


@contextmanager
def drawing(name: str, says: str, height: float = 3.4) -> Iterator[Drawing]:
    """`name` is unique on the page; `says` is what a reader hears who sees no figure."""
    # The salt makes ids of their own for each figure, and the same ones for the same figure.
    with mpl.rc_context({"svg.hashsalt": name}, _STYLE):
        made = Drawing(height)
        yield made
        made.finish(name, says)


def _inline(svg: str, name: str, says: str) -> Markup:
    body = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    used = set(re.findall(r"#([\w-]+)[\")]", body))
    body = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    label = f'<svg role="img" aria-labelledby="{name}-says"'
    # What is not ours in it, names of targets, was escaped by Matplotlib.
    return Markup(  # noqa: S704
        body.replace("<svg", label, 1).replace(">", f'><title id="{name}-says">{escape(says)}</title>', 1)
    )
