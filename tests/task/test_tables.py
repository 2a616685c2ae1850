"""A table as a task: what is asked, what is read, who is kept apart, and what is noticed."""

import numpy as np
import pytest

import blockyard as by
from blockyard.data.table import Table
from blockyard.task import make_task
from blockyard.task._answer import Classes, Numbers
from blockyard.task._cells import Column, fitted, plain
from blockyard.task._giveaway import gives_away
from blockyard.task._part import parted

RNG = np.random.default_rng(0)


def words(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


def table(n=200, seed=0, **more):
    """Numbers, words and holes; `y` follows from `a` and `c`."""
    draw = np.random.default_rng(seed)
    a, c = draw.normal(5, 3, n), draw.choice(["red", "green", "blue"], n)
    y = a + 4.0 * (c == "red") + draw.normal(0, 1, n)
    hole = a.copy()
    hole[::9] = np.nan
    columns = {
        "a": hole,
        "b": draw.normal(0, 1, n),
        "c": words(*c),
        "y": y,
        "high": words(*np.where(y > 6, "hi", "lo")),
    }
    return Table("made.csv", f"{n} {seed} {sorted(more)}", {**columns, **more})


def material(text="table:target=high,drop=y", data=None):
    return make_task(text).material(data or table())


@pytest.fixture(scope="module")
def classes():
    return material()


@pytest.fixture(scope="module")
def numbers():
    return material("table:target=y,drop=high")


def test_columns_become_numbers_by_what_trains_alone(numbers):
    found, data = numbers.found, table()
    train, test = found.rows["train"], found.rows["test"]
    values = data.columns["a"]
    known = values[train][~np.isnan(values[train])]
    assert np.allclose(found.cells[:, 0], (values - known.mean()) / known.std(), equal_nan=True, atol=1e-6)
    assert np.isnan(found.cells[::9, 0]).all() and abs(np.nanmean(found.cells[test, 0])) > 1e-6
    c = found.columns[2]
    assert set(c.words) == {"red", "green", "blue"} and c.cells(words("red", None, "pink"))[2] == 0
    assert np.isnan(c.cells(words(None))[0]) and c.cells(words(c.words[1]))[0] == 2
    y = data.columns["y"]
    assert np.allclose(found.targets[:, 0], (y - y[train].mean()) / y[train].std(), atol=1e-5)


def test_splits_share_nothing_and_follow_from_what_rows_hold():
    data = table()
    found = material(data=data).found
    rows = np.concatenate([found.rows[split] for split in ("train", "tune", "test")])
    assert sorted(rows) == list(range(200)) and len(found.rows["test"]) == 40 and len(found.rows["tune"]) == 20
    turned = Table("made.csv", "other", {name: values[::-1] for name, values in data.columns.items()})
    again = material(data=turned).found
    assert set(199 - again.rows["test"]) == set(found.rows["test"])
    renamed = parted([data.columns["a"], data.columns["b"]]).rows["test"]
    assert set(renamed) != set(found.rows["test"])


def test_equal_rows_stay_on_one_side_and_are_counted():
    half = table(120)
    index = np.concatenate([np.arange(120), np.arange(0, 120, 2)])
    data = Table("twice.csv", "2", {name: values[index] for name, values in half.columns.items()})
    found = material(data=data)
    assert "60 of 180 rows repeat another one: equal rows stay on one side" in " ".join(found.notes)
    assert [c.name for c in found.found.columns] == ["a", "b", "c"]  # a number that stands twice shows nothing
    side = {int(row): split for split, rows in found.found.rows.items() for row in rows}
    assert all(side[2 * i] == side[120 + i] for i in range(60)) and len({*side.values()}) == 3


def test_where_most_rows_are_alike_each_is_drawn_by_itself():
    data = Table("few.csv", "f", {"c": words(*["x", "y"] * 100), "t": words(*["p", "p", "q", "q"] * 50)})
    found = material("table:target=t", data)
    assert len(found.found.rows["test"]) == 40 and any("most do" in note for note in found.notes)


Y = RNG.normal(0, 1, 300)
K = RNG.integers(0, 3, 300)


@pytest.mark.parametrize(
    "values,answer,away",
    [
        (words(*[["no", "yes", "perhaps"][k] for k in K]), K, True),  # another name
        (K * 10.0, K, True),
        (K + RNG.uniform(0, 0.9, 300), K, True),  # runs that do not meet
        (K + RNG.uniform(0, 1.1, 300), K, False),
        (words(*[["no", "yes", "yes"][k] for k in K]), K, False),  # a part of the answer
        (words(*map(str, range(300))), K, False),  # a name in every row says nothing
        (np.arange(300.0), K, False),
        (-3.0 * Y + 1, Y, True),
        (np.exp(Y), Y, True),  # the same order
        (Y + RNG.normal(0, 0.2, 300), Y, False),
        (words(*(f"{round(y)}" for y in Y)), np.round(Y), True),
        (words(*(f"{round(y)}" for y in Y)), Y, False),
        (RNG.normal(0, 1, 300), np.zeros(300, np.int64), False),  # nothing to give away
    ],
)
def test_what_gives_the_answer_away(values, answer, away):
    assert gives_away(plain(values), answer, np.ones(300, bool)) is away


def test_a_column_that_gives_the_answer_away_is_left_out_and_kept_on_demand():
    data = table(survived=words(*np.where(table().columns["high"] == "hi", "yes", "no")))
    left = material(data=data)
    assert "survived" not in [c.name for c in left.found.columns]
    assert any(note.startswith("survived gives high away") and "keep=survived" in note for note in left.notes)
    kept = material("table:target=high,drop=y,keep=survived", data)
    assert "survived" in [c.name for c in kept.found.columns] and any("all the same" in n for n in kept.notes)
    assert kept.references("final")["logistic"].max() == 0 and left.references("final")["logistic"].max() > 0


def test_y_gives_high_away():
    assert any(note.startswith("y gives high away") for note in material("table:target=high").notes)


def test_rows_without_the_target_leave():
    holes = table().columns["y"].copy()
    holes[:30] = np.nan
    found = material("table:target=y2,drop=y+high", table(y2=holes))
    assert len(found.found.targets) == 170 and np.isfinite(found.found.targets).all()
    assert any("30 of 200 rows have no y2" in note for note in found.notes)


@pytest.mark.parametrize(
    "values,kind,wanted,names",
    [
        (np.repeat([1.0, 2.0, 3.0], 60), None, Classes, ("1", "2", "3")),
        (np.repeat([1.0, 2.0, 3.0], 60), "numbers", Numbers, None),
        (np.repeat([0.0, 1.0], 90), None, Classes, ("0", "1")),
        (np.repeat([1.0, 2.5], 90), None, Numbers, None),
        (np.repeat([1.0, 2.5], 90), "classes", Classes, ("1", "2.5")),
        (np.arange(180.0), None, Numbers, None),
        (words(*["b", "a"] * 90), None, Classes, ("a", "b")),
        (np.repeat(np.array(["2020-01-01", "2020-01-05"], "M8[us]"), 90), None, Numbers, None),
    ],
)
def test_what_a_target_holds(values, kind, wanted, names):
    data = Table("t.csv", "t", {"x": RNG.normal(0, 1, 180), "t": values})
    answer = material("table:target=t" + (f",kind={kind}" if kind else ""), data).answer
    assert type(answer) is wanted and (names is None or answer.names == names)


@pytest.mark.parametrize(
    "text,values,message",
    [
        ("table:target=hihg", None, r"unknown column of made.csv 'hihg'; did you mean high"),
        ("table:target=high,drop=yy", None, "unknown column"),
        ("table:target=t", np.ones(200), "t is 1 in every row, so there is nothing to predict"),
        ("table:target=t", np.full(200, np.nan), "0 rows with a cell in t: too few"),
        ("table:target=t", words(*map(str, range(200))), "200 different cells in 200 rows: too many for classes"),
        ("table:target=high,kind=numbers", None, "kind=numbers asks for numbers"),
        ("table:target=high,drop=a+b+c+y", None, "no column is left to predict high from"),
        ("table:target=high,kind=words", None, "kind"),
        ("table:", None, "target"),
    ],
)
def test_mistakes_are_told(text, values, message):
    with pytest.raises(by.UsageError, match=message):
        material(text, table() if values is None else table(t=values))


def test_a_short_table_is_refused():
    with pytest.raises(by.UsageError, match=r"39 rows.*too few"):
        material(data=table(39))


def test_columns_in_which_nothing_stands_are_left_out():
    data = table(same=np.full(200, 7.0), empty=np.full(200, np.nan), id=words(*(f"r{i}" for i in range(200))))
    found = material(data=data)
    assert [c.name for c in found.found.columns] == ["a", "b", "c"]
    said = " ".join(found.notes)
    assert "same is the same" in said and "empty has no cell" in said and "id has another word in every row" in said


def test_nothing_and_a_word_that_never_trains_are_told_apart():
    column = fitted("c", words("a", "a", "b", "b", "z", None))
    assert column == Column("c", ("a", "b")) or column.words == ("a", "b")
    assert column.cells(words("z"))[0] == 0 and np.isnan(column.cells(words(None))[0])


def test_figures_of_classes_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(1)
    answer = Classes(("no", "yes"))
    targets = draw.integers(0, 2, 400)
    said = np.stack([np.zeros(400), np.round(draw.normal(targets - 0.5, 2), 1)], 1)
    amounts = answer.amounts(said, targets)
    figures = answer.figures(amounts.sum(0), 400.0)
    chance = 1 / (1 + np.exp(-said[:, 1]))
    assert abs(figures["AUC"] - metrics.roc_auc_score(targets, chance)) < 5e-3  # scores of one bin are ties
    assert abs(figures["log loss"] - metrics.log_loss(targets, chance)) < 1e-9
    assert amounts[:, 0].mean() == (said.argmax(1) != targets).mean()
    assert [m.name for m in Classes(("a", "b", "c")).also] == ["log loss"]


def test_figures_of_numbers_are_those_of_the_book():
    draw = np.random.default_rng(2)
    answer = Numbers("price", 10.0, 4.0)
    y = draw.normal(10, 4, 300)
    targets = answer.targets(y)
    said = targets + draw.normal(0, 0.3, targets.shape).astype(np.float32)
    figures = answer.figures(answer.amounts(said, targets).sum(0), 300.0)
    off = (said - targets)[:, 0].astype(float) * 4
    assert abs(figures["rmse"] - np.sqrt((off**2).mean())) < 1e-4 and abs(figures["mae"] - np.abs(off).mean()) < 1e-4
    assert abs(figures["R2"] - (1 - (off**2).sum() / ((y - y.mean()) ** 2).sum())) < 1e-4
    assert {m.name: m.better for m in answer.also} == {"R2": "higher", "rmse": "lower", "mae": "lower"}


def test_references_beat_the_blind_and_stand_in_the_figure_of_the_arms(classes, numbers):
    for made, blind, linear in ((classes, "majority", "logistic"), (numbers, "mean", "ridge")):
        exam = made.exam("final", made.length)
        scores = {name: float(exam.weights @ groups) for name, groups in made.references("final").items()}
        assert scores[linear] < 0.75 * scores[blind] and len(next(iter(made.references("final").values()))) == 32
        assert any("references fitted on 140 rows" in note for note in made.tuned_references("final", 1).notes)
    exam = classes.exam("final", 3)
    names = np.array(classes.answer.names)
    right = names[classes.found.targets[classes.found.rows["test"]]]
    assert (table().columns["high"][classes.found.rows["test"]] == right).all()
    assert abs(exam.weights @ classes.references("final")["majority"] - (right != "hi").mean()) < 1e-9


def test_ridge_and_logistic_are_where_their_slope_is_none():
    from blockyard.task._known import RIDGE, _design, _logistic, _ridge

    draw = np.random.default_rng(3)
    cells = np.stack([draw.normal(0, 1, 200), draw.integers(0, 3, 200)], 1).astype(np.float32)
    cells[::7] = np.nan
    y = draw.normal(0, 1, (200, 1)).astype(np.float32)
    x = _design(cells, [0, 2])
    assert x.shape == (200, 7) and np.linalg.matrix_rank(x) == 6 - 1  # one mark stands with the place of what lacks
    said = _ridge(cells, y, [0, 2], None)(cells)
    weights = np.linalg.lstsq(x, said, rcond=None)[0]
    assert np.allclose(x @ weights, said)
    slope = x.T @ (said - y)
    assert np.abs(slope[0]).max() < 1e-4 and np.square(said - y).mean() < np.square(y - y.mean()).mean()
    labels = draw.integers(0, 3, 200)
    scores = _logistic(cells, labels, [0, 2], 3)(cells)
    chance = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert np.abs((chance - np.eye(3)[labels]).sum(0)).max() < 0.05 and RIDGE > 0  # the constant is free


def test_a_model_is_scored_and_exhibits_show_the_column_that_matters(classes, numbers):
    truth = classes.found.cells

    def predict(arrays):
        high = np.nan_to_num(arrays["tokens"][:, 0]) + 1.5 * (
            arrays["tokens"][:, 2] == classes.found.columns[2].words.index("red") + 1
        )
        return {"classes": np.stack([high, np.full(len(high), 0.4)], 1), "row_values": high[:, None]}

    shown = classes.exhibits(predict, classes.exam("final", 3))
    assert shown[0].texts[0].startswith("a: +") and shown[0].texts[-1].split(": ")[0] == "b"
    confusion = next(each for each in shown if each.counts)
    assert np.sum(confusion.counts) == 40 and confusion.labels == ["hi", "lo"] and len(truth) == 200
    honest = next(each for each in shown if each.lines)
    assert [line.name for line in honest.lines] == ["model", "honest"] and len(honest.lines[0].x) == 10
    assert numbers.exhibits(predict, numbers.exam("final", 3))[1].lines


def test_rows_beside_only_pretrain():
    mark = words(*([None] * 120 + ["other"] * 80))
    found = material("table:target=high,drop=y,beside=mark", table(mark=mark))
    rows = found.found.rows
    assert sorted(rows["beside"]) == list(range(120, 200)) and "mark" not in [c.name for c in found.found.columns]
    assert all(row < 120 for split in ("train", "tune", "test") for row in rows[split])
    batch = found.order(3, 8, 0).next(0)
    assert batch["beside"].shape == batch["tokens"].shape and batch["beside_targets"].shape == (8,)
    assert "references fitted on 84 rows" in found.tuned_references("final", 1).notes[0]


@pytest.mark.parametrize("name,changes", [("llama", {}), ("llama", {"model.causal": False}), ("gla", {})])
def test_unchanged_recipes_take_part(classes, numbers, name, changes):
    import torch

    from blockyard.train.loop import to_batch

    for made in (classes, numbers):
        system = made.fit(by.spec(name, "tiny", **changes))
        model = by.build(system)
        batch = to_batch(made.order(3, 8, 0).next(0), "cpu")
        said = model(batch).prediction
        assert made.amounts(said, batch).dtype == torch.float64 and torch.isfinite(made.amounts(said, batch)).all()
        wanted = (8, 2) if made is classes else (8, 1)
        assert said[made.answer.says].shape == wanted


def test_fewer_rows_train_on_demand_and_the_same_are_scored(classes):
    few = material("table:target=high,drop=y,rows=50")
    assert len(few.found.rows["train"]) == 50 and set(few.found.rows["train"]) < set(classes.found.rows["train"])
    assert (few.found.rows["test"] == classes.found.rows["test"]).all()
