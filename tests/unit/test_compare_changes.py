"""What `compare diff` says of two runs; whether it is right to say so is tested in test_compare_difference.py."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from compare import results as kept
from compare.__main__ import main
from compare.report.changes import Changes
from compare.report.write import write
from compare.results import Counts, Profile, Results
from tests.support.compare_results import distribution, results, target


def diff(before: Results, after: Results, folder: Path) -> Result:
    kept.write(before, folder / "before.json")
    kept.write(after, folder / "after.json")
    files = [str(folder / name) for name in ("before.json", "after.json")]
    return CliRunner().invoke(main, ["diff", *files, "--json", str(folder / "diff.json")])


def test_the_same_twice_has_not_changed(tmp_path: Path) -> None:
    done = diff(results(), results(), tmp_path)

    assert done.exit_code == 0, done.output
    assert done.output.startswith("Nothing changed beyond noise, of ")
    written = msgspec.json.decode((tmp_path / "diff.json").read_bytes(), type=Changes)
    assert written.beyond_noise == []
    assert f"of {len(written.within_noise)} figures" in done.output


def test_reports_can_be_compared_too(tmp_path: Path) -> None:
    files = [str(write(results(), None, tmp_path / f"{name}.html")) for name in ("before", "after")]
    done = CliRunner().invoke(main, ["diff", *files])

    assert done.exit_code == 0, done.output
    assert done.output.startswith("Nothing changed beyond noise")


def test_a_report_of_cost_alone_has_no_results(tmp_path: Path) -> None:
    file = tmp_path / "plan.report.json"
    file.write_text('{"results": null, "answer": null}')
    done = CliRunner().invoke(main, ["diff", str(file), str(file)])

    assert done.exit_code == 1
    assert "holds no results" in done.output


def test_what_became_slower_is_told_with_both_intervals(tmp_path: Path) -> None:
    before, after = (target("api", 400, "fargate", measures={"ttft": distribution(centre)}) for centre in (400, 500))
    done = diff(results(before), results(after), tmp_path)

    first, then = before.measures["ttft"].p50, after.measures["ttft"].p50
    assert (
        f"api: ttft p50 from {first.value:.4g} ({first.low:.4g} to {first.high:.4g}) to {then.value:.4g}" in done.output
    )
    assert " ms: 25% worse, p = " in done.output


def test_more_tokens_a_second_are_better(tmp_path: Path) -> None:
    before, after = (
        target("api", 400, "fargate", measures={"tokens_per_second": distribution(centre)}) for centre in (20, 30)
    )

    assert "50% better" in diff(results(before), results(after), tmp_path).output


def test_more_failures_are_told_as_shares(tmp_path: Path) -> None:
    before = target("api", 400, "fargate", counts=Counts(1000, 990, 0, 0, {"http_503": 10}))
    after = target("api", 400, "fargate", counts=Counts(1000, 900, 0, 0, {"http_503": 100}))

    assert "api: share failed from 1.00% (" in diff(results(before), results(after), tmp_path).output


def test_what_is_not_alike_is_told(tmp_path: Path) -> None:
    other = msgspec.structs.replace(results(target("api", 400, None)), profile=Profile("burst", {"requests": 50}))
    output = diff(results(target("app", 400, None)), other, tmp_path).output

    assert "Only one of the runs has the target api." in output
    assert "Only one of the runs has the target app." in output
    assert "then burst, requests 50." in output


@pytest.mark.parametrize("content", ["{}", "[1]", "no json"])
def test_what_are_no_results_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text(content)
    kept.write(results(), tmp_path / "whole.json")
    done = CliRunner().invoke(main, ["diff", str(tmp_path / "whole.json"), str(tmp_path / "broken.json")])

    assert done.exit_code == 1
    assert "holds no results" in done.output
