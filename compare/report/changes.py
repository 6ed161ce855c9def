"""What changed between two runs, in words and as JSON: what is beyond noise, and what else was looked at."""

from collections.abc import Iterator

import msgspec

from compare.cost.bill import number
from compare.measures.difference import SIGNIFICANCE, Change, between_runs
from compare.results import HIGHER_IS_BETTER, Estimate, Profile, Results


class Changes(msgspec.Struct, frozen=True):
    """`differs` are sentences on what else is not the same in both runs, and so may be why."""

    beyond_noise: list[Change]
    within_noise: list[Change]
    differs: list[str]


def changes(before: Results, after: Results) -> Changes:
    found = between_runs(before, after)
    return Changes(
        [each for each in found if each.beyond_noise],
        [each for each in found if not each.beyond_noise],
        list(_differs(before, after)),
    )


def _differs(before: Results, after: Results) -> Iterator[str]:
    for name in sorted({each.name for each in before.targets} ^ {each.name for each in after.targets}):
        yield f"Only one of the runs has the target {name}."
    if before.profile != after.profile:
        yield f"The loads are not the same: {_load(before.profile)}; then {_load(after.profile)}."
    if before.machine != after.machine:
        yield "The load did not come from the same kind of machine."
    yield from (f"Warned: {warning}" for each in (before, after) for warning in each.warnings)


def _load(profile: Profile) -> str:
    return ", ".join([profile.name, *(f"{name} {value}" for name, value in profile.parameters.items())])


def text(found: Changes) -> str:
    return "\n".join(_lines(found))


def _lines(found: Changes) -> Iterator[str]:
    compared = len(found.beyond_noise) + len(found.within_noise)
    if not found.beyond_noise:
        yield f"Nothing changed beyond noise, of {compared} figures that were compared."
    else:
        yield f"Changed beyond noise (p < {SIGNIFICANCE}, corrected for the {compared} figures that were compared):"
        yield from (f"  {told(change)}" for change in found.beyond_noise)
    yield from found.differs


def told(change: Change) -> str:
    """For example `lambda: ttft p50 from 400 (395 to 405) to 450 (444 to 455) ms: 12% worse, p = 0.0003`."""
    what = f"{change.measure} {change.what}" if change.measure else f"share {change.what}"
    unit = "" if change.measure is None or change.measure in HIGHER_IS_BETTER else " ms"
    return (
        f"{change.target}: {what} from {_estimate(change.before, change)} to {_estimate(change.after, change)}{unit}"
        f"{_verdict(change)}, p = {change.p:.2g}"
    )


def _estimate(estimate: Estimate, change: Change) -> str:
    shown = number if change.measure else _percent
    low, high = ("?" if end is None else shown(end) for end in (estimate.low, estimate.high))
    return f"{shown(estimate.value)} ({low} to {high})"


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _verdict(change: Change) -> str:
    if change.ratio is None:
        return ""
    better = (change.ratio > 1) == (change.measure in HIGHER_IS_BETTER)
    return f": {abs(change.ratio - 1):.0%} {'better' if better else 'worse'}"
