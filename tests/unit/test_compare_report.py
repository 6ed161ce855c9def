"""The page of a comparison, read as a browser's parser reads it."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from compare import results as kept
from compare.__main__ import main
from compare.cost.answer import Answer, answer
from compare.cost.bill import number
from compare.cost.plan import plan
from compare.cost.prices import load
from compare.report.figures import styles
from compare.report.page import page
from compare.report.write import Report, write
from compare.results import Counts, Results
from tests.support.compare_results import results, target

EVIL = '<script>alert(1)</script> $x^2$ & "Co" {{ 7 * 7 }}'


class Reader(HTMLParser):
    """Counts elements and ids, and gathers text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.used: set[str] = set()
        self.text = ""
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self._open = tag
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            if name in {"src", "href", "xlink:href", "aria-labelledby", "clip-path"} and value:
                self.used.add(value)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open != "style":
            self.text += " " + " ".join(data.split())


def answer_to(measured: Results) -> Answer:
    made = plan(results=measured)
    return answer(made.deployment, made.traffic, load("us-east-1"))


def read(measured: Results) -> Reader:
    return Reader(page(measured, answer_to(measured)))


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_the_answer_comes_first() -> None:
    measured = results()
    found = read(measured)

    assert answer_to(measured).sentence in found.text
    assert found.text.index(answer_to(measured).sentence) < found.text.index("Speed")
    assert "fargate is the fastest" in found.text
    counts = Counts(1010, 500, 0, 0, {"http_503": 510})
    hasty = read(results(target("lambda", 400, "lambda"), target("fargate", 330, "fargate", counts=counts)))
    assert "did not fail alike often" in hasty.text
    assert "is the fastest" not in hasty.text
    assert "10 of 1010 to lambda" in found.text


def test_every_measure_stands_there_with_its_interval() -> None:
    measured = results()
    found = read(measured)

    ttft = measured.targets[0].measures["ttft"].p50
    assert f"{number(ttft.value)} {number(ttft.low or 0)} to {number(ttft.high or 0)}" in found.text
    assert "http_503: 5, timeout: 1" in found.text
    for says in ("Tokens a second", "Time between one read with tokens", "Cold starts", "34% of one core"):
        assert says in found.text


def test_an_interval_without_an_end_says_so() -> None:
    few = results(target("few", 400, None))
    estimate = few.targets[0].measures["ttft"].p999
    assert estimate.high is None

    assert f"{number(estimate.low or 0)} to ?" in read(few).text


def test_what_overlaps_is_called_no_difference() -> None:
    assert (
        "no difference that this run could tell" in read(results(target("a", 400, None), target("b", 400, None))).text
    )


def test_what_comes_from_targets_is_text() -> None:
    clean = read(results(target("plain", 400, "lambda")))
    counts = Counts(3, 1, 0, 0, {EVIL: 2})
    evil = read(results(target(EVIL, 400, EVIL, url=EVIL, counts=counts, note=EVIL), warnings=(EVIL,)))

    assert evil.elements["script"] == clean.elements["script"] == 0
    assert evil.text.count(EVIL) >= 5
    assert f"({EVIL})" in evil.text
    assert "49" not in re.findall(r"Co\" (\d+)", evil.text)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page(results(), answer_to(results()))
    found = Reader(html)

    # A fragment, an id of a label, or the icon that is none.
    assert {each for each in found.used if not each.startswith(("#", "url(#"))} <= {"data:,", *found.ids}
    assert "@import" not in html
    assert all(count == 1 for count in found.ids.values()), found.ids.most_common(3)


def test_figures_have_words_for_those_who_do_not_see_them() -> None:
    found = read(results())

    assert found.elements["svg"] == found.elements["figure"] == 8
    assert sum(1 for id in found.ids if id.endswith("-says")) == found.elements["svg"]
    assert found.elements["table"] == found.elements["caption"]


def test_a_home_looks_the_same_in_all_figures() -> None:
    alone, among = styles(["fargate"]), styles(["a", "lambda", "fargate", None, "lambda", None])

    assert among[2] == alone[0]
    assert len(set(among)) == 6


def test_no_colour_is_fixed_in_a_figure() -> None:
    html = page(results(), answer_to(results()))
    drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)

    assert drawn
    assert not [found for svg in drawn for found in re.findall(r"(?:fill|stroke): #\w+", svg)]


def test_it_is_about_cost_alone_without_results(tmp_path: Path) -> None:
    html = tmp_path / "cost.html"
    done = report("--streams-per-hour", "50", "--html", str(html))

    assert done.exit_code == 0, done.output
    found = Reader(html.read_text())
    assert "What it costs" in found.text
    assert not {"Speed", "Failures"} & set(found.text.split())


def test_it_is_about_speed_alone_where_nothing_came_whole(tmp_path: Path) -> None:
    kept.write(results(target("broken", 400, None, counts=Counts(2, 0, 0, 0, {"timeout": 2}))), tmp_path / "r.json")
    html = tmp_path / "report.html"
    done = report(str(tmp_path / "r.json"), "--html", str(html))

    assert done.exit_code == 0, done.output
    assert "No stream came whole" in Reader(html.read_text()).text
    assert "What it costs" not in html.read_text()


def test_the_json_has_all_that_the_page_shows(tmp_path: Path) -> None:
    measured = results()
    beside = write(measured, answer_to(measured), tmp_path / "report.html")

    assert msgspec.json.decode(beside.read_bytes(), type=Report) == Report(measured, answer_to(measured))


@pytest.mark.parametrize(("content", "words"), [("{}", "holds no results"), ('{"format": 99}', "form 99")])
def test_what_are_no_results_is_told(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    done = report(str(tmp_path / "r.json"))

    assert done.exit_code == 1
    assert words in done.output


def test_streams_a_task_follow_from_the_cpu_they_took() -> None:
    made = plan(results=results())

    assert made.traffic.streams_per_hour == 900
    assert made.traffic.stream_seconds == 12
    assert made.traffic.cold_share == pytest.approx(20 / 1010)
    assert made.deployment.on_fargate.streams_per_task == 150  # 60 held on 0.2 cores, a task has 0.5
