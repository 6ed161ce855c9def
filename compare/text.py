"""What a run found, as a table for a terminal."""

from compare.results import MEASURES, Distribution, Estimate, Results, Target


def table(results: Results) -> str:
    parts = [_target(target) for target in results.targets]
    client = (
        f"The load took {results.client.cpu_share:.0%} of a core and woke up {results.client.lag:.1f} ms late (p99)."
    )
    stopped = f"It ended by its limit of {results.limits.stopped_by}." if results.limits.stopped_by else ""
    return "\n\n".join([*parts, "\n".join(filter(None, [client, stopped, *results.warnings]))])


def _target(target: Target) -> str:
    counts = target.counts
    failures = ", ".join(f"{number} {kind}" for kind, number in counts.errors.items())
    head = (
        f"{target.name}  ({target.home or 'unknown home'}, {target.instances} instances, {target.url})\n"
        f"  {counts.requests} requests: {counts.whole} whole, {counts.truncated} truncated, {counts.resumed} resumed"
        f"{', ' + failures if failures else ''}; {target.starts.cold} cold starts, {target.starts.restored} restores"
    )
    rows = [_row(measure, target.measures[measure]) for measure in MEASURES if measure in target.measures]
    return "\n".join([head, f"  {'':18}{'p50':>24}{'p90':>24}{'p99':>24}{'p99.9':>24}{'n':>9}", *rows])


def _row(name: str, each: Distribution) -> str:
    cells = "".join(f"{_estimate(value):>24}" for value in (each.p50, each.p90, each.p99, each.p999))
    return f"  {name:18}{cells}{each.n:>9}"


def _estimate(each: Estimate) -> str:
    low, high = (f"{end:.1f}" if end is not None else "?" for end in (each.low, each.high))
    return f"{each.value:.1f} ({low}-{high})"
