"""Words and empty cells that no row trains; references that are tuned as arms are, and never see the test."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.report.text import _tuned
from blockyard.data.table import Table
from blockyard.task import _known as references
from blockyard.task import make_task
from blockyard.task._cells import plain
from blockyard.task._part import keys
from blockyard.task._unseen import SHARE
from tests.task.test_tables import table, words

RATES = 4


def material(text="table:target=high,drop=y", data=None):
    return make_task(text).material(data or table())


def late(column, cell):
    """The table of `table`, with another cell in some rows that the test then has, and in no other."""
    data = table()
    all_so = data.columns[column].copy()
    all_so[:] = cell
    key = keys([plain(each) for each in ({**data.columns, column: all_so}[name] for name in ("a", "b", "c", "high"))])
    rows = np.flatnonzero(key < 0.15 * 2**64)[:3]  # a fifth of the keys are those of the test
    values = data.columns[column].copy()
    values[rows] = cell
    return Table("made.csv", "late", {**data.columns, column: values}), rows


def shares(batches, steps=400):
    """The share of empty cells of `b`, and of words of `c` that are not known, among all that trains."""
    cells = np.concatenate([batches.next(step)["tokens"] for step in range(steps)])
    return np.isnan(cells[:, 1]).mean(), (cells[:, 2] == 0).mean(), (cells[:, 1] == 0).mean()


def test_what_no_row_holds_is_shown_now_and_then():
    made = material()
    order = made.order(3, 8, 0)
    empty, unknown, zero = shares(order)
    for share in (empty, unknown):  # 3,200 cells; a deviation is 0.0018
        assert abs(share - SHARE) < 0.006
    assert zero == 0  # a number that is taken away is no 0
    assert shares(order.main) == (0, 0, 0)  # the double without: neither would mean anything
    scored = made.exam("final", 3).take(slice(None))["tokens"]
    assert np.isfinite(scored[:, 1:]).all() and (scored[:, 2] > 0).all()


def test_which_cells_are_taken_follows_from_seed_and_step():
    first, again, other = (material().order(3, 64, seed) for seed in (0, 0, 1))
    same, later = first.next(5)["tokens"], first.next(6)["tokens"]
    np.testing.assert_array_equal(again.next(5)["tokens"], same)
    assert not np.array_equal(np.isnan(same[:, 1]), np.isnan(later[:, 1])) or not np.isnan(same[:, 1]).any()
    gone = [np.isnan(np.concatenate([each.next(s)["tokens"][:, 1] for s in range(9)])) for each in (first, other)]
    assert gone[0].any() and not np.array_equal(*gone)


def test_rows_that_only_pretrain_lack_cells_too():
    mark = words(*([None] * 120 + ["other"] * 80))
    order = material("table:target=high,drop=y,beside=mark", table(mark=mark)).order(3, 8, 0)
    cells = np.concatenate([order.next(step)["beside"] for step in range(100)])
    assert 0 < np.isnan(cells[:, 1]).mean() < 0.03


def test_a_word_of_the_test_alone_is_no_word_that_trains_and_told():
    data, rows = late("c", "pink")
    found = material(data=data)
    assert (found.found.cells[rows, 2] == 0).all() and "pink" not in found.found.columns[2].words
    assert any("words that no row trains" in note and "c ('pink'; 3)" in note for note in found.notes)
    assert not any("no row trains" in note for note in material().notes)
    said = found.references("final")
    assert all(np.isfinite(groups).all() for groups in said.values())


def test_an_empty_cell_of_the_test_alone_is_told():
    data, _ = late("b", np.nan)
    assert "empty cells in scored rows, and none in those that train: b (3)" in material(data=data).notes
    assert not any("empty cells" in note for note in material().notes)


def test_a_class_of_the_test_alone_is_told():
    data, _ = late("high", "new")
    assert any("classes that no row trains: 'new', in 3 scored rows" in note for note in material(data=data).notes)


@pytest.mark.parametrize("text", ["table:target=high,drop=y", "table:target=y,drop=high"])
def test_references_try_as_many_settings_as_arms_try_rates(text, monkeypatch):
    made, tried = material(text), []
    for make in [*references.GRIDS]:
        grid = references.GRIDS[make]
        monkeypatch.setitem(references.GRIDS, make, lambda n, grid=grid: (tried.append(n), grid(n))[1])
    one, many = made.tuned_references("final", 1), made.tuned_references("final", RATES)
    assert tried == [1, 1, RATES, RATES] and not one.settings
    assert set(many.settings) == {"boosted trees", "logistic" if "high" in text.split(",")[0] else "ridge"}
    assert f"each tuned over {RATES} settings as every arm" in many.notes[0]
    np.testing.assert_array_equal(one.figures["majority" if "logistic" in many.settings else "mean"],
                                  next(iter(many.figures.values())))  # fmt: skip


def test_every_grid_has_as_many_settings_as_are_asked_and_the_usual_one():
    for grid, usual in ((references.penalties, {"penalty": 1.0}), (references.trees, {"leaves": 31, "rate": 0.1})):
        for count in (1, 3, 4, 9):
            found = grid(count)
            assert len({str(each) for each in found}) == count and usual in found
        assert grid(1) == [usual]


def test_a_setting_is_chosen_on_the_tuning_rows_and_no_row_of_the_test_is_looked_at():
    data = table(seed=4)
    made = material("table:target=y,drop=high", data)
    rows, y = made.found.rows, data.columns["y"]
    chosen = made.tuned_references("final", RATES).settings
    fits = {}
    for place, penalty in enumerate(references.penalties(RATES)):
        cells, targets = made.found.cells, made.found.targets
        fit = references._ridge(cells[rows["train"]], targets[rows["train"]], [0, 0, 3], None, **penalty)
        fits[place] = {s: np.square(fit(cells[rows[s]]) - targets[rows[s]]).mean() for s in ("tune", "test")}
    best = min(fits, key=lambda place: fits[place]["tune"])
    assert chosen["ridge"] == f"penalty={references.penalties(RATES)[best]['penalty']:g}"
    answers = made.found.targets.copy()
    answers[rows["test"]] = -50.0  # whatever the test holds, the fits stay
    made.found = made.found._replace(targets=answers)
    made.fitted.clear()
    assert made.tuned_references("final", RATES).settings == chosen and len(y) == 200
    answers[rows["tune"]] = np.roll(answers[rows["tune"]], 3) * 100  # what chooses may change the choice
    made.fitted.clear()
    assert made.tuned_references("final", RATES).settings != chosen


def test_the_plan_and_the_report_say_what_was_chosen(tmp_path):
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, 80)
    lines = [
        "x,z,label",
        *(f"{a:.3f},{b:.3f},{'ab'[k]}" for a, b, k in zip(draw.normal(label), draw.normal(0, 1, 80), label)),
    ]
    (tmp_path / "my.csv").write_text("\n".join(lines) + "\n")
    asked = Request(("llama",), data=(str(tmp_path / "my.csv"),), task="table:target=label", tokens="2k", params="60k")
    told: list[str] = []
    plan = make_plan(asked, told.append)
    assert plan.reference_settings["logistic"].startswith("penalty=") and len(plan.same.rates) == RATES
    assert any(f"each tuned over {RATES} settings as every arm" in note for note in told)
    assert not make_plan(replace(asked, tuning="none"), told.append).reference_settings


def test_the_report_says_what_was_chosen():
    plan = SimpleNamespace(reference_settings={"ridge": "penalty=10"}, same=SimpleNamespace(rates=[1.0, 2.0, 4.0]))
    assert _tuned(plan) == ["Of these, tuned over 3 settings, as every arm, on the same rows: ridge penalty=10."]
    plan.reference_settings = {}
    assert _tuned(plan) == []


def test_references_choose_on_as_many_rows_as_arms(monkeypatch):
    seen = []
    monkeypatch.setattr("blockyard.task._tabular.MOST", {"tune": 7, "final": 16384})
    monkeypatch.setattr("blockyard.task._tabular.known", lambda *args: (seen.append(args[4]), ([], []))[1])
    made = material()
    made.tuned_references("final", RATES)
    asked = len(made.exam("tune", made.width))
    (judge,) = seen
    shown = []
    judge(lambda cells: shown.append(cells) or np.zeros((len(cells), 2)))
    assert asked == 7 == len(shown[0]) < len(made.found.rows["tune"])
    np.testing.assert_array_equal(shown[0], made.exam("tune", made.width).take(slice(None))["tokens"])


def test_a_cell_that_lacks_in_a_row_that_only_pretrains_is_no_news():
    """Rows beside are shown to the model too, their empty cells as well."""
    data = table()
    beside, column = np.full(len(data), None, object), next(
        name for name, cells in data.columns.items() if cells.dtype.kind == "f" and not np.isnan(cells).any()
        and name not in ("y", "high")
    )  # fmt: skip
    beside[::10], emptied = "more", data.columns[column].copy()
    emptied[0] = np.nan
    found = material("table:target=high,drop=y,beside=more", Table.of(
        data.name, {**data.columns, column: emptied, "more": beside}))  # fmt: skip
    assert {each.name: each.lacked for each in found.kept}[column] is True
