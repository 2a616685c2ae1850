"""What must hold of mixtures of families: streams of their own, one variance, and what lies between two of them."""

import numpy as np
import pytest

import blockyard as by
from blockyard.core.draw import Draw
from blockyard.family._base import make_family
from blockyard.predictor import along
from blockyard.task import make_task
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Settings, train


@pytest.mark.parametrize(
    "first, second, dim", [("dense", "sparse(count=2)", 4), ("dense", "sinusoid", 1), ("relu_net", "dense", 3)]
)
def test_at_either_end_it_is_that_family(first, second, dim):
    """(1) to the bit, vectors and noise too; in the middle it is neither."""
    pairs = {}
    for share in (0, 0.5, 1):
        pairs[share] = make_task(
            f"in_context:family=between(first={first},second={second},share={share}),dim={dim}"
        ).pairs(3, 40)
    for share, text in ((1, first), (0, second)):
        pure = make_task(f"in_context:family={text},dim={dim}").pairs(3, 40)
        assert all(map(np.array_equal, pairs[share], pure)) and not np.array_equal(pairs[0.5][1], pure[1])
    ends = [pairs[share][1] for share in (0, 1)]
    noise = Draw(3, 40)
    noise.normal(5, dim)
    e = 0.3 * noise.normal(5)
    assert np.abs(pairs[0.5][1] - e - (ends[0] + ends[1] - 2 * e) / 2**0.5).max() < 1e-12


@pytest.mark.parametrize(
    "text, dim",
    [
        ("dense", 6), ("sparse(count=2)", 6), ("signs", 6), ("centres(far=2)", 6), ("relu_net", 6), ("sinusoid", 1),
        ("fourier", 1), ("fourier_up_to", 1), ("low_rank", 9), ("composed", 5), ("between(share=0.25)", 6),
    ],
)  # fmt: skip
def test_every_family_has_variance_one(text, dim):
    """(2) within 2% or what chance allows, over functions and vectors."""
    family = make_family(text, dim)
    values = family.drawn(1, family.vectors(Draw(0, 20000), 5))
    rows = np.square(values).mean(1)
    assert abs(rows.mean() - 1) < max(0.02, 4 * rows.std() / len(rows) ** 0.5)
    assert abs(values.mean()) < 0.05


def test_a_share_of_one_is_the_stream_of_the_specialist():
    """(3) to the bit, and the rule of its posterior."""
    mixed = "in_context:family=dense+sparse,dim=4,shares="
    for shares, text in (("(1.0,0.0)", "dense"), ("(0.0,1.0)", "sparse")):
        one, alone = make_task(mixed + shares), make_task(f"in_context:family={text},dim=4")
        for a, b in zip(one.sample(5, 30), alone.sample(5, 30)):
            assert np.array_equal(a, b, equal_nan=True)
        tokens = alone.sample(5, 30).tokens
        assert np.abs(one.solve(tokens) - alone.solve(tokens)).max() < 1e-9
    _, y = make_task(mixed + "(0.25,0.75)").pairs(0, 4000)
    dense = make_task("in_context:family=dense,dim=4").pairs(0, 4000)[1]
    assert abs((y == dense).all(1).mean() - 0.25) < 0.03


def test_all_numbers_that_matter_are_the_dense_family():
    """(4) the same values of the same draws, and the same posterior."""
    sparse, dense = make_family("sparse(count=4)", 4), make_family("dense", 4)
    x = dense.vectors(Draw(0, 30), 6)
    y = dense.values(Draw(1, 30), x)
    assert np.array_equal(sparse.values(Draw(1, 30), x), y)
    for a, b in zip(sparse.posterior(x, y, x, 0.3), dense.posterior(x, y, x, 0.3)):
        assert np.abs(a - b).max() < 1e-10


def test_trying_every_set_beats_the_ridge():
    """(5) on 2,000 sparse prompts, at every place; by as much as is known after 3, 4 and 6 examples."""
    noise = 0.1 / 6**0.5
    family, dense = make_family("sparse(count=2)", 6), make_family("dense", 6)
    x = family.vectors(Draw(0, 2000), 7)
    y = family.drawn(1, x)
    given = y + noise * Draw(2, 2000).normal(7)
    errors = {}
    for name, each in (("sets", family), ("ridge", dense)):
        said = along(lambda a, b, q, each=each: each.posterior(a, b, q, noise)[1], x, given)
        errors[name] = 6 * np.square(y - said).mean(0)  # in the units of weights of variance 3, as they are known
    assert (errors["sets"] <= errors["ridge"] * 1.001).all()
    for after, sets, ridge in ((3, 0.75, 2.9), (4, 0.12, 2.0), (6, 0.009, 0.38)):
        assert 0.5 * sets < errors["sets"][after] < 2 * sets and 0.6 * ridge < errors["ridge"][after] < 1.6 * ridge


def test_the_best_that_is_linear_in_y_is_no_worse_than_a_ridge():
    """What lies between is priced by the covariance of both; a ridge of either family alone is no better."""
    middle = make_family("between(first=dense,second=sinusoid)", 1)
    x = middle.vectors(Draw(0, 1000), 8)
    y = middle.drawn(1, x) + 0.3 * Draw(2, 1000).normal(8)
    errors = [
        np.square(y - along(lambda a, b, q, each=each: each.posterior(a, b, q, 0.3)[1], x, y)).mean()
        for each in (middle, make_family("dense", 1))
    ]
    assert errors[0] < 0.95 * errors[1]


def test_a_decoder_learns_from_its_examples():
    """A few steps on the task bring an unchanged recipe below where it began."""
    task = make_task("in_context:family=dense+sparse,dim=4,points=8,shares=(0.3,0.7)")
    system = task.ends.fit(by.spec("llama", "tiny"))
    model = by.build(system)
    done = train(system, model, Exercise(repr(task), task).order(task.length, 16, 0), Settings(steps=30, lr=3e-3))
    assert done.status == "finished" and done.curve[-1][1] < done.curve[0][1]
