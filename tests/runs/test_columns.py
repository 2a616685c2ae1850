"""Columns are found by the words they are called by, asked for where two could be meant, and never guessed."""

import pytest

import blockyard as by
from blockyard.runs import find_columns, measure, read_rows
from blockyard.runs._columns import direction, is_share


def found(columns, **asked):
    """The roles of a table that has these columns, two rows of each kind."""
    rows, roles = find_columns(read_rows(columns), asked)
    return rows, roles


NUMBERS = [1.0, 1.5, 2.0, 2.5]
ARMS = ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    "columns, want",
    [
        ({"entry": ARMS, "run": list("wxyz"), "step": [5] * 4, "steps": [9] * 4, "val_loss": NUMBERS},
         ("entry", "run", None, "step", ["val_loss"])),
        ({"sample": [1, 2, 1, 2], "model": ARMS, "correct": [0, 1, 1, 1]},
         ("model", None, "sample", None, ["correct"])),
        ({"Model Name": ["m"] * 4, "method": ARMS, "fold": [0, 1, 0, 1], "F1": NUMBERS},
         ("method", None, "fold", None, ["F1"])),
        ({"params.optimizer": ARMS, "params.seed": [0, 1, 0, 1], "test/acc": NUMBERS, "val/acc": NUMBERS},
         ("params.optimizer", "params.seed", None, None, ["test/acc"])),
        ({"model": ["m"] * 4, "algo": ARMS, "figure": NUMBERS}, ("algo", None, None, None, ["figure"])),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(columns, want):
    _, roles = found(columns)
    assert (roles.arm, roles.seed, roles.pair, roles.step, roles.scores) == want
    assert set(roles.found) == set(roles.columns()) and roles.group is None


@pytest.mark.parametrize(
    "names, arms, seeds",
    [
        (["adamw-seed0", "adamw-seed1", "muon-seed0", "muon-seed10"], ["adamw", "adamw", "muon", "muon"], "0 1 0 10"),
        (["a/run_1", "a/run_2", "b_x/run_1", "b_x/run_2"], ["a", "a", "b_x", "b_x"], "1 2 1 2"),
        (["big net s1", "big net s2", "net s1", "net s2"], ["big net", "big net", "net", "net"], "1 2 1 2"),
    ],
)
def test_names_of_runs_hold_the_arm_and_the_seed(names, arms, seeds):
    rows, roles = found({"name": names, "loss": NUMBERS})
    assert rows.values(roles.arm) == arms and rows.values(roles.seed) == seeds.split()


def test_a_number_in_a_name_is_no_seed_unless_it_says_so():
    rows, roles = found({"name": ["gpt-2", "gpt-3", "llama-2", "llama-3"], "loss": NUMBERS})
    assert roles.arm == "name" and roles.seed is None and len(set(rows.values("name"))) == 4


def test_several_columns_are_one_name_together():
    columns = {"model": ARMS, "lr": [0.1, 0.2, 0.1, 0.1], "batch": ["x", None, "x", "y"], "loss": NUMBERS}
    rows, roles = found(columns, arm="model,lr", seed="batch,lr")
    assert rows.values(roles.arm) == ["a 0.1", "a 0.2", "b 0.1", "b 0.1"]
    assert rows.values(roles.seed) == ["x 0.1", "0.2", "x 0.1", "y 0.1"]
    assert roles.found == ("score",)


@pytest.mark.parametrize(
    "columns, asked, message",
    [
        ({"arm": ARMS, "loss": NUMBERS, "acc": NUMBERS}, {}, "several columns could be the score: loss, acc"),
        ({"arm": ARMS, "x": NUMBERS, "y": NUMBERS}, {}, "several columns could be the score: x, y"),
        ({"arm": ARMS, "note": ARMS}, {}, "no column of numbers"),
        ({"x": [1, 2, 3, 4], "loss": NUMBERS}, {}, "no column says which arm"),
        ({"arm": ARMS, "loss": NUMBERS}, {"arm": "arms"}, "unknown column 'arms'; did you mean arm"),
        ({"arm": ARMS, "loss": NUMBERS}, {"score": "arm"}, "holds no numbers"),
        ({"arm": ARMS, "loss": [1, 2, "many", 3]}, {}, "row 3: loss 'many' is no number"),
        ({"arm": ARMS, "loss": NUMBERS}, {"score": "loss,loss"}, "names 'loss' twice"),
    ],
)
def test_what_could_be_two_things_is_asked_for(columns, asked, message):
    with pytest.raises(by.UsageError, match=message):
        found(columns, **asked)


def test_the_way_that_is_better_is_known_of_usual_metrics_only():
    assert [direction(name) for name in ("val_loss", "metrics.test/WER", "bpb", "val_bpb", "mae")] == ["lower"] * 5
    assert [direction(name) for name in ("exact_match,strict-match", "topAcc", "F1")] == ["higher"] * 3
    assert [direction(name) for name in ("score", "lossless", "time", "ms")] == [None] * 4
    assert is_share("val_accuracy") and not is_share("loss")


def measured(columns, **asked):
    rows, roles = find_columns(read_rows(columns), asked)
    return measure(rows, roles, roles.scores[0])


def test_the_last_step_that_has_a_score_counts():
    columns = {"arm": ["a"] * 4 + ["b"] * 2, "seed": [0, 0, 0, 1, 0, 1], "step": [10, 30, 20, 5, 9, 9],
               "loss": [3.0, None, 2.0, 1.0, 1.0, 1.0]}  # fmt: skip
    found = measured(columns)
    assert found.scores == {("a", "0"): 2.0, ("a", "1"): 1.0, ("b", "0"): 1.0, ("b", "1"): 1.0}
    assert found.notes == ["the runs of a end between step 5 and 20"]


def test_a_score_that_is_no_number_is_a_failure_and_a_missing_one_a_hole():
    columns = {"arm": ["a"] * 3 + ["b"] * 2, "seed": [0, 1, 2, 0, 1], "loss": [1.0, float("inf"), None, 2.0, 3.0]}
    found = measured(columns)
    assert found.failed == {("a", "1"): "its loss is inf"} and found.runs("a") == ["0", "1"]
    late = {"arm": ["a", "a", "b"], "seed": [0, 0, 0], "step": [1, 2, 2], "loss": [1.0, float("nan"), 2.0]}
    assert measured(late).failed == {("a", "0"): "its loss is nan"}  # what it had before counts no more


def test_rows_that_contradict_one_another_are_refused():
    twice = {"arm": ["a", "a", "b"], "seed": [0, 0, 0], "loss": [1.0, 2.0, 3.0]}
    with pytest.raises(by.UsageError, match="a, run 0 stands twice: row 1 and row 2; name what tells them apart"):
        measured(twice)
    assert measured(twice, seed="none").scores == {("a", "1"): 1.0, ("a", "2"): 2.0, ("b", "1"): 3.0}


def test_samples_of_a_group_count_as_one():
    columns = {"model": ["a"] * 4 + ["b"] * 4, "sample": [1, 2, 3, 4] * 2, "text": ["x", "x", "x", "y"] * 2,
               "correct": [1, 0, 1, 1, 0, 0, 0, 1]}  # fmt: skip
    found = measured(columns, group="text")
    assert found.samples == {("a", "1"): {"x": 2 / 3, "y": 1.0}, ("b", "1"): {"x": 0.0, "y": 1.0}}
    assert found.scores["a", "1"] == pytest.approx(5 / 6)  # of groups, not of samples


def test_a_run_that_is_listed_twice_is_told():
    scores = [3.27, 3.28, 3.29, 3.27, 3.28, 3.29]
    found = measured({"arm": ["a"] * 6 + ["b"] * 6, "loss": scores + [3.0 + i / 7 for i in range(6)]})
    assert found.notes == ["6 of the 6 scores of a stand more than once: is a run listed twice?"]


def test_samples_count_as_much_as_they_weigh():
    cells = [(arm, seed, sample) for arm in "ab" for seed in (1, 2) for sample in range(3)]
    columns = {
        "arm": [arm for arm, _, _ in cells],
        "seed": [seed for _, seed, _ in cells],
        "part": [sample for _, _, sample in cells],
        "size": [(1.0, 2.0, 5.0)[sample] for _, _, sample in cells],
        "loss": [sample + seed / 10 + (arm == "b") for arm, seed, sample in cells],
    }
    rows, roles = found(columns, pair="part", weight="size")
    measured = measure(rows, roles, "loss")
    assert measured.weights == {"0": 1, "1": 2, "2": 5} and measured.scores["a", "1"] == pytest.approx(0.1 + 12 / 8)
    assert by.judge(columns, pair="part", weight="size").arms[0].score.mean == pytest.approx(0.15 + 12 / 8)
    for wrong, says in ((0.0, "above 0, not 0"), ("much", "not 'much'"), (4.0, "weighs 4 here and 5 before")):
        with pytest.raises(by.UsageError, match=says):
            by.judge(columns | {"size": [*columns["size"][:-1], wrong]}, pair="part", weight="size")
    with pytest.raises(by.UsageError, match="name the column of samples"):
        by.judge({name: values[::3] for name, values in columns.items()}, weight="size")
    one = {name: [x for x, seed in zip(values, columns["seed"]) if seed == 1] for name, values in columns.items()}
    with pytest.raises(by.UsageError, match="leave --weight out"):
        by.judge(one, pair="part", weight="size")
