"""An answer for a terminal."""

from collections.abc import Iterator

from compare.cost.answer import Answer, HomeBill
from compare.cost.bill import TITLES, money, number


def text(answer: Answer) -> str:
    return "\n".join(_lines(answer))


def _lines(answer: Answer) -> Iterator[str]:
    yield answer.sentence
    yield from (f"  {reason}" for reason in answer.reasons)
    yield "\nWhat would change it:"
    yield from (f"  {change}" for change in answer.would_change)
    yield "\nWhere the cheapest home changes, with streams of this length:"
    yield from _flips(answer)
    for bill in answer.bills:
        yield ""
        yield from _bill(bill)
    yield f"\nNot in these bills: {'; '.join(answer.left_out)}."


def _flips(answer: Answer) -> Iterator[str]:
    if not answer.flips:
        yield "  nowhere within a hundredth and a hundred times of this traffic"
    for flip in answer.flips:
        yield (
            f"  {number(flip.streams_per_hour)} streams an hour: {TITLES[flip.below]} below, {TITLES[flip.above]} "
            f"above ({money(flip.usd)} a month without what they share)"
        )


def _bill(bill: HomeBill) -> Iterator[str]:
    yield f"{bill.title}: {money(bill.usd)} a month, of which {money(bill.own_usd)} are its own"
    for line in bill.lines:
        yield f"  {money(line.usd):>11}  {line.what}{' (shared)' if line.shared else ''}: {line.arithmetic}"
