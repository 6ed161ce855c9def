"""The report of a comparison in a real browser: Debian's Chromium, by Playwright.

Which is imported where it is used: this file is collected where there is none, and then left out by its mark.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compare.cost.answer import answer
from compare.cost.plan import plan
from compare.cost.prices import load
from compare.report.write import write
from tests.support.compare_results import results, target
from tests.support.scripted import scripted
from tests.support.service import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize

pytestmark = pytest.mark.compat

DESK: ViewportSize = {"width": 1200, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
LONG = "https://a-target-with-a-very-long-name-that-does-not-break-anywhere.example.org/<b>bold</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "Chromium is missing: install it (Debian: apt-get install chromium)."
    with sync_playwright() as playwright:
        # As root, in a container, it has no sandbox; the page is ours and may load nothing.
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    html = tmp_path_factory.mktemp("report") / "report.html"
    measured = results(
        target("lambda", 400, "lambda"),
        target("fargate", 330, "fargate"),
        target(LONG, 350, None),
        warnings=("The load's own client was busy.",),
    )
    made = plan(results=measured)
    write(measured, answer(made.deployment, made.traffic, load("us-east-1")), html)
    return html.as_uri()


def opened(browser: Browser, address: str, viewport: ViewportSize, scheme: str) -> tuple[Page, list[str]]:
    """With what the console said of errors and warnings, and every request to elsewhere."""
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page = browser.new_page(viewport=viewport, color_scheme="dark" if scheme == "dark" else "light")
    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url != address else None)
    page.goto(address)
    return page, complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_it_opens_without_a_complaint_and_fits(
    browser: Browser, address: str, viewport: ViewportSize, scheme: str, tmp_path: Path
) -> None:
    page, complaints = opened(browser, address, viewport, scheme)

    assert complaints == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"]
    assert page.locator("h1").inner_text().startswith(("Lambda:", "Fargate:"))
    assert page.locator("figure svg").count() == 8
    for box in (figure.bounding_box() for figure in page.locator("figure svg").all()):
        assert box is not None
        assert box["width"] > 0.6 * min(viewport["width"], 640)
    page.close()


def test_what_a_run_wrote_opens_as_well(browser: Browser, tmp_path: Path) -> None:
    found, html = tmp_path / "results.json", tmp_path / "report.html"
    with scripted({"latencies": [5, 20], "faults": ["none", "none", "503"]}) as url:
        load = ["--rate", "40", "--seconds", "3", "--warmup", "0", "--output", str(found)]
        for command in (["run", "--target", f"one={url}", *load], ["report", str(found), "--html", str(html)]):
            subprocess.run([sys.executable, "-m", "compare", *command], cwd=ROOT, check=True)
    page, complaints = opened(browser, html.as_uri(), DESK, "light")

    assert complaints == []
    assert page.get_by_text("Requests that failed").count() == 1
    assert page.locator("figure svg").count() > 4
    page.close()


def test_each_scheme_has_its_own_colours_in_figures_too(browser: Browser, address: str) -> None:
    looks = []
    for scheme in ("light", "dark"):
        page, _ = opened(browser, address, DESK, scheme)
        text = page.locator("figure svg text").first
        looks.append(
            (
                page.evaluate("getComputedStyle(document.body).backgroundColor"),
                text.evaluate("each => getComputedStyle(each).fill"),
            )
        )
        page.close()

    assert looks[0] == ("rgb(255, 255, 255)", "rgb(28, 33, 38)")
    assert looks[1] == ("rgb(20, 24, 28)", "rgb(232, 235, 238)")


def test_what_a_target_calls_itself_stays_text(browser: Browser, address: str) -> None:
    page, _ = opened(browser, address, DESK, "light")

    assert page.get_by_text(LONG).count() >= 4
    assert page.locator("b").count() == 0
    page.close()


def test_it_prints(browser: Browser, address: str) -> None:
    page, _ = opened(browser, address, DESK, "dark")
    page.emulate_media(media="print")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 50_000
    page.close()


def test_a_reader_of_the_screen_finds_headings_tables_and_figures(browser: Browser, address: str) -> None:
    page, _ = opened(browser, address, DESK, "light")

    assert page.get_by_role("heading", level=1).count() == 1
    for name in ("Speed", "Failures", "Cold starts", "What it costs", "Where the answer flips", "Limits of the method"):
        assert page.get_by_role("heading", name=name, exact=True, level=2).count() == 1
    assert page.get_by_role("img").count() == page.locator("figure svg").count()
    assert page.get_by_role("img", name="The cheapest home by how many streams").count() == 1
    assert page.locator("table:not(:has(caption))").count() == 0
    page.close()
