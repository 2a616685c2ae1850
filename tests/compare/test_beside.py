"""Outcomes side by side: the same arms found again, what was asked otherwise told, what changed named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import blockyard as by
from blockyard.cli import main
from blockyard.compare.documents import Report
from blockyard.compare.kept import listed, outcome, several
from blockyard.compare.report.beside_text import describe_beside, render_beside
from blockyard.compare.report.figures import looks
from blockyard.compare.report.result import write
from blockyard.core.files import sealed, write_whole

OLD = Path(__file__).parent / "old" / "result.json"


@pytest.fixture
def known():
    return Report.from_json(json.loads(OLD.read_text()), OLD)


@pytest.fixture
def two(tmp_path, known):
    """A comparison and one like it: more tokens, another margin, an arm renamed, one gone, one pair turned round."""
    plan = known.plan
    first, *rest = plan.arms
    renamed = replace(first, label="renamed")
    pair = replace(known.pairs[0], resolved=True, p=0.01, verdict="better")
    turned = replace(pair, a=pair.b, b=pair.a, difference=-pair.difference)
    arms = [replace(arm, name="renamed") if arm.name == first.label else arm for arm in known.arms]
    named = {first.label: "renamed"}
    turned = replace(turned, a=named.get(turned.a, turned.a), b=named.get(turned.b, turned.b))
    asked = replace(plan, arms=[renamed, *rest], matched=plan.matched | {"tokens": 4e5}, margin=0.02)
    write(replace(known, pairs=[pair, *known.pairs[1:]]), tmp_path / "a")
    write(replace(known, plan=asked, arms=arms, pairs=[turned], along=None), tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def test_what_differs_and_what_changed_is_named(two, known):
    found = several(two, two[0].parent / "out")
    assert [side.name for side in found.sides] == ["a", "b"]
    differs = {each.what: each.values for each in found.differs}
    assert differs["tokens"][1] == "400k" and differs["margin"] == ["0.01", "0.02"]
    assert "length" in found.alike and not set(differs) & set(found.alike)
    changed, *_ = found.changed
    assert changed.turned and set(changed.words) == {"better", "worse"}
    first = known.plan.arms[0].label
    assert {arm.name for arm in found.arms} == {arm.name for arm in known.arms}, "renamed is no other arm"
    assert next(arm for arm in found.arms if arm.name == first).places[1].called == "renamed"
    assert all(arm.same for arm in found.arms)
    words = describe_beside(found)
    assert "turned round" in words and "400k" in words and all(len(line) <= 100 for line in words.splitlines())


def test_scores_are_those_of_the_sides(two):
    found = several(two, two[0].parent / "out")
    for at, folder in enumerate(two):
        own = outcome(folder)
        for arm in found.arms:
            place = arm.places[at]
            assert place.score == own.arm(place.called).score and place.rank == own.arm(place.called).rank


def test_metrics_that_differ_share_no_axis_and_are_tabled(two, tmp_path, known):
    names = [arm.name for arm in known.arms[:2]]
    rows = [{"arm": a, "seed": s, "accuracy": 0.1 * s + i / 2} for i, a in enumerate([*names, "else"]) for s in (1, 2)]
    by.judge(rows, out=tmp_path / "j")
    found = several([two[0], tmp_path / "j"], tmp_path / "out")
    assert found.axes == [[0], [1]] and "no common axis" in str(found)
    page = render_beside(found)
    assert page.count('aria-labelledby="beside-') == 2 and "Only in j: else." in page
    assert {each.what for each in found.differs} >= {"metric", "data"} and "length" not in found.alike
    colours = looks([arm.name for arm in found.arms])
    assert all(f'data-arm="{colours[name]}"' in page for name in names)


def test_a_place_that_is_taken_is_left_alone(two, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "a", "b"]) == 0
    assert "report: blockyard-out/a-beside-b/report.html" in capsys.readouterr().out
    assert main(["report", "a", "b", "--json"]) == 0, "its own page is written anew"
    assert len(json.loads(capsys.readouterr().out)["sides"]) == 2
    kept = (tmp_path / "a" / "report.html").read_bytes()
    for words, says in (
        (["a", "b", "--out", "a"], "holds something else"),
        (["b", "a", "--out", "blockyard-out/a-beside-b"], "holds something else"),
        (["a", "a"], "named twice"),
        (["a", "--out", "x"], "for several folders"),
        (["a", "nothing"], "result.json is missing"),
        (["blockyard-out/a-beside-b"], "side by side"),
    ):
        assert main(["report", *words]) == 2
        said = capsys.readouterr().err
        assert says in said and len(said.splitlines()) == 1
    assert (tmp_path / "a" / "report.html").read_bytes() == kept


def test_folders_of_one_name_are_told_apart(two, tmp_path):
    for name in ("x", "y"):
        write(outcome(two[0]), tmp_path / name / "run")
    assert [s.name for s in several([tmp_path / n / "run" for n in "xy"], tmp_path / "out").sides] == ["x/run", "y/run"]


def test_what_lies_in_a_folder_is_listed(two, tmp_path, capsys, known):
    for folder in two:
        write_whole(folder / "plan.json", sealed(outcome(folder).plan.to_json()))
    (two[1] / "result.json").unlink()
    write_whole(tmp_path / "deep" / "c" / "plan.json", sealed(known.plan.to_json()))
    first, second, third = listed(tmp_path)
    assert (first["folder"], first["state"], first["best"]) == ("a", "finished", known.best)
    assert second["state"] == f"0 of {len(known.plan.seeds) * len(known.plan.arms)} runs" and second["best"] == []
    assert third["folder"] == "deep/c" and "400k" in second["budget"] and "renamed" in second["arms"]
    assert main(["runs", str(tmp_path), "--csv", str(tmp_path / "all.csv")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 4
