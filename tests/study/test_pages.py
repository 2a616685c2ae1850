"""Pages of studies: what they draw of reports, with failures drawn, and what lies beside a record."""

import re
from dataclasses import replace

import pytest

import blockyard
from blockyard.cli import main
from blockyard.compare.report.sheet import Picture, Sheet, Table, alone
from blockyard.core import registry
from blockyard.study import _write_page, channels, depth_and_rates, length
from blockyard.study._pictures import Axes, Curve, frame, frames

ARMS = {
    "depth_and_rates": ("prenorm=llama:layers=2", "postnorm=llama:layers=2,model.residual=postnorm"),
    "length": ("alibi=llama:mixer.position=alibi", "rope=llama",
               "learned=llama:mixer.position=none,stem.position=learned",
               "rope_lambda=llama|lambda_shape:window=64,sinks=4",
               "rope_dynamic_ntk=llama|swap_position:position=dynamic_ntk"),
    "channels": ("mlp_relu=polycom:activation=relu", "mlp_gelu=polycom:activation=gelu", "swiglu=llama",
                 "mlp_poly_norm=polycom", "geglu=llama:channel.activation=gelu",
                 "mlp_top_k=polycom:activation=top_k,activation.k=64"),
}  # fmt: skip
FEW = {"params": "60k", "tokens": "1k", "length": 16, "batch": 8, "seeds": 2}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_text("".join(f"{i} times {i} is {i * i}.\n" for i in range(4000)))
    return str(path)


def reports(name, text, folder, **asked):
    """Every race of a study on a little text, with a few of its arms."""
    study = registry.find("study", name).load().study()
    few = FEW if any(race.task is None for race in study.races) else {}
    found = blockyard.compare(ARMS[name], data=text, out=folder / name, quiet=True, **(few | asked))
    return {race.name: found for race in study.races}


def drawn(sheet, folder):
    """The files of a page: every picture by itself, the page with all of them, the table."""
    _write_page(sheet, folder)
    page = (folder / "page.html").read_text()
    for picture in sheet.pictures:
        svg = (folder / f"{picture.name}.svg").read_text()
        assert svg.startswith("<svg xmlns") and "nan" not in svg and picture.title in page
        assert not re.search(r'href="http', page), "it needs no network"
    return page, (folder / "table.md").read_text().splitlines()


def test_the_page_of_depth_and_rates_draws_what_failed(text, tmp_path, monkeypatch):
    found = reports("depth_and_rates", text, tmp_path, rates=(1e-3, 1e-2, 1e-1))
    broken = {
        name: replace(report, arms=[replace(arm, trials=[arm.trials[0], None, 1e9]) for arm in report.arms])
        for name, report in found.items()
    }
    page, table = drawn(depth_and_rates.page(broken), tmp_path)
    assert page.count('class="cross"') == 2 * len(ARMS["depth_and_rates"]) * len(depth_and_rates.LAYERS)
    assert {row.split(" | ")[0].strip("| ") for row in table[2:]} == {"prenorm", "postnorm"}
    assert "1 of 4" in table[2] and "Stream by depth" in page and "Entropy by depth" in page


def test_the_page_of_lengths_is_in_units_of_training(text, tmp_path):
    sheet = length.page(reports("length", text, tmp_path, reach=length.REACH, tuning="none"))
    page, table = drawn(sheet, tmp_path)
    assert len(table) == 2 + len(ARMS["length"]) and "learned at 16:" not in page, "a table ends with its rows"
    assert "rope at 16: " in page and "rope at 0.25: " in page


def test_the_page_of_channels_shows_what_they_cost(text, tmp_path):
    page, table = drawn(channels.page(reports("channels", text, tmp_path, tuning="none")), tmp_path)
    assert "seconds of training a run" in page and "operations a token" in table[0]
    firing = {row.split(" | ")[0].strip("| "): row.split(" | ")[-1].strip("| ") for row in table[2:]}
    assert firing["swiglu"] == firing["mlp_gelu"] == "all" and firing["mlp_relu"].endswith("%")


def test_what_is_missing_or_too_high_is_a_cross_in_a_frame():
    curves = [
        Curve("a", 0, [(1.0, 2.0), (2.0, None), (4.0, 9.0), (8.0, 3.0)]),
        Curve("b", 1, [(1.0, None), (8.0, None)]),
    ]
    for svg in (
        frame("f", "F", Axes("x", "y", most=4.0), curves),
        frames("f", "F", Axes("x", "y", most=4.0), {"a": curves}),
    ):
        assert svg.count('class="cross"') == 4 and "a at 1: 2" in svg and "a at 4" not in svg
    nothing = frame("f", "F", Axes("x", "y"), [Curve("a", 0, [(1.0, None)])])
    assert nothing.count('class="cross"') == 1


def test_a_picture_alone_has_paper_style_and_escapes():
    svg = frame("f", "a < b", Axes("x & y", "y"), [Curve("<i>", 0, [(1.0, 2.0), (2.0, 1.0)])])
    found = alone(svg)
    assert "var(--paper)" in found and "&lt;i&gt;" in found and found.count("<svg") == 1
    sheet = Sheet("T & T", "<about>", [Picture("p", "P", "said", svg)], Table(["a", "b"], [["<x>", "1"]]), ["note"])
    page = sheet.html()
    assert "T &amp; T" in page and "&lt;about&gt;" in page and "&lt;x&gt;" in page and "<li>note</li>" in page
    assert sheet.table.markdown() == "| a | b |\n| --- | ---: |\n| <x> | 1 |\n"


def test_a_study_with_a_page_leaves_it_beside_its_record(tmp_path, monkeypatch, text):
    """Run at its own tier with two arms, a word of text and its predictions about others left out."""
    monkeypatch.chdir(tmp_path)
    study = channels.study()
    race = replace(study.races[1], arms=ARMS["channels"][:2], options={**FEW, "data": text, "tuning": "none"})
    races = tuple(replace(race, name=each.name) for each in study.races)
    monkeypatch.setattr(channels, "study", lambda: replace(study, races=races, predictions=study.predictions[:0]))
    assert main(["study", "channels"]) == 0
    kept = {path.name for path in (tmp_path / "results" / "channels").iterdir()}
    assert {"page.html", "table.md", "parameters.svg", "operations.svg", "time.svg"} < kept and len(kept) == 6
