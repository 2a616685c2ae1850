"""Pages in a browser, wide and narrow, light and dark: nothing is cut off or lies over another, nothing complains."""

from dataclasses import replace

import pytest
from test_report import CASES, LABELS, document, read_report

import blockyard as by
from blockyard.compare.report.page import render
from blockyard.compare.report.result import ArmReport
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.compare.report.widths import widths_picture
from blockyard.task import Exhibit, Line
from blockyard.task import Picture as Pixels
from blockyard.train.coordinates import Coordinates
from tests.browser import CHROMIUM, Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")]
LONG = "2026-03-17_a_name_that_somebody_gave_who_has_many_runs_to_tell_apart"
SIZES = [(1300, False), (400, True)]


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size[0]} {'dark' if size[1] else 'light'}")
def screen(request, tmp_path_factory):
    width, dark = request.param
    with Browser(tmp_path_factory.mktemp("home") / "home", width, dark=dark) as browser:
        yield browser, width


def exhibited(arm: ArmReport, number: int) -> ArmReport:
    """The arm with a thing of every sort to look at."""
    at = [float(step) for step in range(-48, 49)]
    gone = [Line(name, at, [-1e3 * number + step for step in at]) for name in ("what was", "what came", "forecast")]
    step = [Line("model", at, [0.1 * number + abs(each) for each in at]), Line("last season (24)", at, [9.0] * len(at))]
    pixels = Pixels(
        8, 8, [9 * i % 255 for i in range(64)], f"a class with a long name, said to be another one {number}"
    )
    shown = [
        Exhibit("an ordinary window", "steps ahead", "megawatts", gone),
        Exhibit("error by step", "steps ahead", "scaled squared error", step),
        Exhibit("taken for", "said", "true", labels=[f"class {i}" for i in range(9)], counts=[[3, *range(8)]] * 9),
        Exhibit("worst", pictures=[pixels] * 9, texts=["word" * 60]),
    ]  # fmt: skip
    return replace(arm, exhibits=shown)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made = {name: render(read_report(each)) for name, each in CASES.items()}
    many = read_report(document(LABELS, 5))
    first = document(LABELS[:2])
    first["metric"] |= {"unit": "share of the variance"}
    for arm in first["arms"]:
        arm["by_length"] = {"128": 2.0, "256": 1.5}
    made["trained at the least length"] = render(read_report(first))
    made["exhibits"] = render(replace(many, arms=[exhibited(arm, i) for i, arm in enumerate(many.arms)]))
    runs = [
        {"arm": f"{LONG}_{i}", "seed": seed, "loss": 3.0 + 0.1 * i + 0.01 * (seed * i % 3)}
        for i in range(14)
        for seed in range(3 - (i == 5) * 2)
    ]
    made["judged"] = render(by.judge(runs))
    made["judged, few"] = render(by.judge(runs[:6]))
    moved = Coordinates((32, 64, 128), {LONG: [1e-5, 1e-3, 0.2], "stem": [0.1, 0.1, 0.1]})
    table = Table(["arm", *(f"a column of long words {i}" for i in range(9))], [[LONG, *["0.123 [0.1, 0.2]"] * 9]])
    sheet = Sheet(f"Page of {LONG}", LONG, [Picture("p", "Title", "About.", widths_picture(moved))], table, [LONG])
    return made | {"sheet": sheet.html()}


@pytest.mark.parametrize("case", [*CASES, "trained at the least length", "exhibits", "judged", "judged, few", "sheet"])
def test_a_page_can_be_read(screen, pages, case, tmp_path):
    browser, width = screen
    place = tmp_path / "page.html"
    place.write_text(pages[case])
    browser.wrong.clear(), browser.urls.clear()
    browser.open(place.as_uri())
    browser.until("document.readyState == 'complete' && document.title.length > 0")
    assert browser.flaws(width) == [] and browser.wrong == []
    assert browser.urls == [place.as_uri()] or all(url.startswith(("file:", "data:")) for url in browser.urls)


def test_flaws_are_found(screen, tmp_path):
    browser, width = screen
    place = tmp_path / "page.html"
    place.write_text(
        '<title>x</title><meta name="viewport" content="width=device-width"><div style="width: 3000px">wide</div>'
        '<svg role="img" viewBox="0 0 100 50" width="100"><text x="5" y="20">one</text><text x="6" y="22">two</text>'
        '<text x="95" y="40">beyond the picture</text></svg>'
    )
    browser.open(place.as_uri())
    browser.until("document.title == 'x'")
    found = {what for what, *_ in browser.flaws(width)}
    assert found >= {"the page is wide", "cut off", "no title", "over one another", "outside its picture"}
