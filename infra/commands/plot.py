"""Draws a power tuning: what a request takes and costs by the memory of the function."""

import json
from pathlib import Path
from typing import Any


def rows(result: dict[str, Any]) -> list[tuple[int, float, float]]:
    """Memory (MB), time (ms) and price (US dollars) of a request, by memory.

    Raises:
        ValueError: it was not measured with `includeOutputResults`.
    """
    if "stats" not in result:
        raise ValueError("There are no figures of single sizes in this result.")
    measured = sorted(result["stats"], key=lambda each: int(each["value"]))
    return [(int(each["value"]), each["averageDuration"], each["averagePrice"]) for each in measured]


def table(measured: list[tuple[int, float, float]]) -> str:
    lines = [
        f"{memory:6} MB {duration:9.0f} ms   ${price * 1e6:9.2f} a million" for memory, duration, price in measured
    ]
    return "\n".join(["memory       a request", *lines])


def draw(measured: list[tuple[int, float, float]], path: Path) -> None:
    """Write a plot of both, in the format that the name of `path` ends with."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "headwater"  # the same figures give the same file
    memory, duration, price = zip(*measured, strict=True)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    times = figure.subplots()
    prices = times.twinx()
    (line,) = times.plot(memory, duration, "o-", color="tab:blue", label="time")
    (other,) = prices.plot(memory, [each * 1e6 for each in price], "s--", color="tab:orange", label="price")
    times.set(xlabel="memory, MB", ylabel="a request, ms", xticks=memory, ylim=(0, None))
    prices.set(ylabel="a million requests, US dollars", ylim=(0, None))
    times.legend(handles=[line, other], loc="lower center")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def show(result: Path, plot: Path) -> None:
    """Print the figures of a result file, and draw them.

    Raises:
        ValueError: there are none in it.
    """
    measured = rows(json.loads(result.read_text()))
    print(table(measured))
    draw(measured, plot)
    print(f"The plot is in {plot}.")
