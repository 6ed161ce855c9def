"""Results as a run would have them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from compare.results import Client, Limits, Machine, Profile, Results, Target


def results_of(targets: Sequence[Target]) -> Results:
    began = datetime(2026, 11, 27, tzinfo=UTC)
    return Results(
        began=began,
        ended=began,
        machine=Machine("Linux x86_64", 2, "3.13.1"),
        profile=Profile("steady", {"rate": 2.0}),
        seed=1,
        limits=Limits(60, 1000, None, None, None),
        warmup=5,
        client=Client(0.1, 1.0),
        targets=list(targets),
        warnings=[],
    )
