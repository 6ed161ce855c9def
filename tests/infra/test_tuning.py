import json
from pathlib import Path

import pytest

from infra.commands.plot import draw, rows, show, table

# As AWS Lambda Power Tuning 4.4 writes it with `includeOutputResults`.
RESULT = {
    "power": "512",
    "cost": 1.9e-06,
    "duration": 260.0,
    "stats": [
        {"averagePrice": 2.7e-06, "averageDuration": 190.25, "value": 1024},
        {"averagePrice": 1.9e-06, "averageDuration": 260.0, "value": 512},
    ],
}


def test_sizes_are_told_in_their_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = tmp_path / "tuning.json"
    result.write_text(json.dumps(RESULT))

    show(result, tmp_path / "tuning.svg")

    said = capsys.readouterr().out
    assert "   512 MB       260 ms   $     1.90 a million\n  1024 MB       190 ms   $     2.70 a million" in said
    assert "<svg" in (tmp_path / "tuning.svg").read_text()


def test_the_same_figures_give_the_same_plot(tmp_path: Path) -> None:
    for name in ("first.svg", "second.svg"):
        draw(rows(RESULT), tmp_path / name)

    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_a_result_without_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="no figures"):
        table(rows({"power": "512", "cost": 1.9e-06, "duration": 260.0}))
