"""What must hold of Boolean functions in context: labels, forced rows, teaching, learners, the oracle, the score."""

from itertools import product

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch, UsageError
from blockyard.predictor import boolean as rules
from blockyard.predictor.linear import along
from blockyard.task import make_task
from blockyard.task._check import score
from blockyard.task._exercise import Exercise
from blockyard.task.boolean import teaching

D = 4
CUBE = np.array(list(product((-1, 1), repeat=D)))
EVERY = np.array(list(product((-1, 0, 1), repeat=D)))


def every(label):
    """(functions, vectors) what each function of literals says of each vector."""
    return label(np.broadcast_to(CUBE, (len(EVERY), *CUBE.shape)), EVERY)


def test_a_conjunction_is_true_where_all_literals_are():
    """(1) sign(x.w - (|w|_1 - 1)), which is never 0; of no literal it is 1 everywhere."""
    scores = EVERY @ CUBE.T - (np.abs(EVERY).sum(1, keepdims=True) - 1)
    assert (scores != 0).all() and (every(rules.conjunction) == np.sign(scores)).all()
    assert (every(rules.conjunction)[~EVERY.any(1)] == 1).all()
    slow = [[1 if all(v == x for v, x in zip(w, row) if v) else -1 for row in CUBE] for w in EVERY]
    assert (every(rules.conjunction) == slow).all()


def test_a_taught_conjunction_is_known():
    """(2) after its teaching sequence the elimination learner is right on every vector, for every conjunction."""
    rows, taught = teaching(EVERY, D + 3)
    labels = rules.conjunction(rows, EVERY)
    for w, row, here, label in zip(EVERY, rows, taught, labels):
        assert here.sum() == 2 + np.abs(w).sum() and (label[here][:2] == 1).all() and (label[here][2:] == -1).all()
        said = rules.elimination(row[here], label[here], CUBE)
        assert (said == rules.conjunction(CUBE, w)).all()
        left = [v for v in EVERY if (rules.conjunction(row[here], v) == label[here]).all()]
        assert len(left) == 1, "no other conjunction fits"
        if w.any():
            fewer = row[here][:-1], label[here][:-1]
            assert sum((rules.conjunction(fewer[0], v) == fewer[1]).all() for v in EVERY) == 2, "no row is too many"
    w = np.array([[1, 0, -1, 0]])
    assert teaching(w, 6)[0][0].tolist() == [
        [1, -1, -1, -1], [1, 1, -1, 1], [-1, 1, -1, 1], [1, 1, 1, 1], [1, 1, -1, 1], [1, 1, -1, 1]
    ]  # fmt: skip


@pytest.mark.parametrize("function, sign, share", [("conjunction", 1, 0.3), ("disjunction", -1, 0.3)])
def test_forced_rows_have_their_label(function, sign, share):
    """(3) a row whose literals were made true is 1, of a disjunction made false -1; so many more have that label."""
    task = make_task(f"boolean:function={function},dim={D}")
    x, y = task.pairs(0, 4000)
    w = task.functions
    forced = np.where(w[:, None] != 0, sign * w[:, None], CUBE)
    assert (getattr(rules, function)(forced, w) == sign).all()
    by_chance = float(task.chances @ 0.5 ** np.abs(task.functions).sum(1))
    assert abs((y == sign).mean() - (share + (1 - share) * by_chance)) < 0.015
    assert set(np.unique(y)) == set(np.unique(x)) == {-1, 1}


def test_a_disjunction_is_the_opposite_of_opposite_literals():
    """(4) disjunction(x; w) = -conjunction(x; -w): true where any literal is, and so are the learners."""
    slow = [[1 if any(v == x for v, x in zip(w, row) if v) else -1 for row in CUBE] for w in EVERY]
    assert (every(rules.disjunction) == slow).all()
    x, y = make_task(f"boolean:function=disjunction,dim={D}").pairs(1, 50)
    said = along(rules.elimination_of_disjunctions, x, y)
    assert (y[said == -1] == -1).all(), "it says -1 only where that is sure"
    assert (said[:, 0] == 1).all() and (said == y).mean() > 0.6


def test_parity_is_solved_by_independent_rows():
    """(5) after n independent rows elimination modulo 2 is right on every vector; before, where examples imply it."""
    draw = np.random.default_rng(0)
    every_w = np.array(list(product((0, 1), repeat=D)))
    rows = np.where(np.tri(D, dtype=bool)[draw.permutation(D)], -1, 1)
    for w in every_w:
        assert (rules.elimination_mod_2(rows, rules.parity(rows, w), CUBE) == rules.parity(CUBE, w)).all()
    x = draw.choice((-1, 1), size=(200, 9, D))
    w = every_w[draw.integers(len(every_w), size=200)]
    y = rules.parity(x, w)
    said = rules.elimination_mod_2(x[:, :3], y[:, :3], x[:, 3:])
    fits = (rules.parity(x[:, None, :3], every_w[None].repeat(200, 0)) == y[:, None, :3]).all(-1)  # (200,W)
    asked = rules.parity(x[:, None, 3:], every_w[None].repeat(200, 0))
    sure = [(np.ptp(asked[i][fits[i]], 0) == 0) for i in range(200)]
    assert (said == y[:, 3:])[np.stack(sure)].all() and (said[~np.stack(sure)] == 1).all()
    assert 0.2 < np.stack(sure).mean() < 0.9


@pytest.mark.parametrize("function", ["conjunction", "parity"])
def test_other_signs_are_the_rest_of_the_score(function):
    """(6) labels turned round turn an accuracy a into 1 - a; a row is asked at its vectors alone."""
    task = make_task(f"boolean:function={function},dim={D}")
    shown = task.sample(2, 100)
    turned = np.where(shown.targets >= 0, 1 - shown.targets, -1)
    ids = task.predictors()["nearest"](shown.tokens)
    asked = task.questions(shown.targets)
    assert (asked == task.points).all() and (shown.targets[:, 1::2] == -1).all()
    one, other = (task.amounts({"ids": ids}, each).sum() / asked.sum() for each in (shown.targets, turned))
    assert abs(one + other - 1) < 1e-12 and one != other
    scores = torch.zeros(*ids.shape, 2).scatter_(2, torch.from_numpy(ids)[..., None], 1.0)
    assert np.array_equal(task.amounts({"token_classes": scores}, torch.from_numpy(shown.targets)).numpy(),
                          task.amounts({"ids": ids}, shown.targets))  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "function=disjunction", "function=majority,count=3", "function=parity", "teach=True"]
)
def test_nobody_is_better_than_the_oracle(text):
    """(7) it knows how functions and rows are drawn; a learner of the class is between it and the commonest label."""
    task = make_task(f"boolean:{text}")
    shown = task.sample(5, 300)
    found = {name: score(task, predictor, shown) for name, predictor in task.predictors().items()}
    assert found["oracle"] == min(found.values()) < 0.6 * found["commonest"]
    if text == "teach=True":
        assert found["oracle"] < 0.01
        ends = {}
        for name, predictor in task.predictors().items():
            wrong = task.amounts({"ids": predictor(shown.tokens)}, shown.targets).sum(0)
            ends[name] = task.figures(wrong, 300.0 * task.points)["error at the end"]
        assert ends["elimination"] == 0 < ends["nearest"]


def test_the_oracle_is_bayes():
    """(7) of one literal or none in one number it is what a table of all cases says, forced rows included."""
    task = make_task("boolean:dim=1,points=2")
    x, y = task.pairs(0, 30_000)
    said = task.solve(task.sample(0, 64).tokens)[:, ::2]
    case = x[:, 0, 0] * 4 + y[:, 0] * 2 + x[:, 1, 0]
    for value in np.unique(case):
        here = case == value
        mean = y[here, 1].mean()
        if abs(mean) > 0.1 and here[:64].any():
            assert (said[here[:64], 1] == (mean > 0)).all()
    assert (said[:, 0] == 1).all() and y[:, 0].mean() > 0.5


def test_models_are_asked_before_they_are_told():
    """(6) any recipe takes part; a label changes nothing at its own vector."""
    material = Exercise("boolean", make_task("boolean"))
    for name in ("llama", "gla"):
        model = by.build(material.fit(by.spec(name, "tiny"))).double()
        tokens = torch.from_numpy(material.held.exams["tune"].tokens[:2]).double()
        with torch.no_grad():
            said = model(Batch(tokens)).prediction["token_classes"]
            other = model(Batch(torch.cat([tokens[:, :5], -tokens[:, 5:]], 1))).prediction["token_classes"]
        assert said.shape == (2, 24, 2) and (said[:, :5] - other[:, :5]).abs().max() < 1e-9
    with pytest.raises(UsageError, match="dim=9 must be at most"):
        make_task("boolean:dim=9")
    with pytest.raises(UsageError, match="count=2 is of majority and parity"):
        make_task("boolean:count=2")
    with pytest.raises(UsageError, match="teach is for a conjunction"):
        make_task("boolean:function=parity,teach=True")


def test_the_perceptron_and_the_neighbour():
    """(7) one ends right on a majority it has seen often; the other says the label of the same vector seen last."""
    w = np.array([1, 1, 1, 0])
    x = CUBE[None].repeat(30, 0).reshape(1, -1, D)
    assert (rules.perceptron(x, rules.majority(x, w[None]), CUBE[None]) == rules.majority(CUBE, w)).mean() > 0.99
    shown = np.concatenate([CUBE, CUBE[:3]])[None]
    y = np.arange(len(shown[0]))[None]
    assert rules.nearest(shown, y, CUBE[None])[0].tolist() == [16, 17, 18, *range(3, 16)]
