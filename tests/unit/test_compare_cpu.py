"""CPU is averaged over the time that is measured: what came before and the end of the last streams are not in it."""

import pytest

from compare.load.cpu import CpuTime


def test_what_lies_outside_does_not_count() -> None:
    seen = CpuTime()
    for moment, seconds in ((100, 7.0), (110, 7.0), (120, 12.0), (130, 12.0)):
        seen.add(moment, seconds)

    assert seen.cores(110, 120) == pytest.approx(0.5)
    assert seen.cores(105, 115) == pytest.approx(0.25)
    assert seen.cores(100, 130) == pytest.approx(5 / 30)
