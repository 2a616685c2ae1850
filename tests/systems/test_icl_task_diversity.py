"""What must hold of a finite pool of regressions: the posterior over it, and what it becomes as the pool grows."""

import subprocess
import sys

import numpy as np
import pytest

import blockyard as by
from blockyard.core import UsageError
from blockyard.family.dense import Dense
from blockyard.family.pool import Pool
from blockyard.predictor import along, ridge
from blockyard.predictor.bayes import of_pool
from blockyard.task import make_task
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Settings, train

D, NOISE = 4, 0.25


def prompts(points=8, rows=5, dim=D, family=None, seed=0):
    """x (rows,points,dim) and y of a family."""
    family = family or Pool(dim)
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, points, dim))
    return x, family.drawn(seed, x) + NOISE * draw.normal(size=(rows, points))


def said(family, x, y, noise=NOISE):
    """(rows,points) the posterior mean at each place from those before it."""
    return along(lambda a, b, q: family.posterior(a, b, q, noise)[1], x, y)


def test_of_a_pool_of_one_nothing_is_left_to_learn():
    """(1) with one function the posterior says its value at every place."""
    alone = Pool(D, count=1)
    x, y = prompts(family=alone)
    assert np.abs(said(alone, x, y) - x @ alone.weights[0]).max() < 1e-12
    assert np.abs(alone.drawn(3, x) - x @ alone.weights[0]).max() < 1e-12


def test_a_large_pool_is_the_ridge():
    """(2) with 200,000 functions of 5 numbers, after 3 examples: within about a hundredth of the ridge."""
    large = Pool(5, count=200_000)
    x, y = prompts(points=3, rows=6, dim=5, family=Dense(5))
    asked = np.random.default_rng(9).normal(size=(6, 3, 5))
    known = (asked @ ridge(x, y, 5 * NOISE**2)[..., None])[..., 0]  # weights of variance 1/5
    off = np.square(large.posterior(x, y, asked, NOISE)[1] - known).mean() / np.square(known).mean()
    few = np.square(Pool(5, count=20).posterior(x, y, asked, NOISE)[1] - known).mean() / np.square(known).mean()
    assert off < 0.02 < 0.3 < few


def test_the_order_of_the_context_is_nothing():
    """(3) for the pool and for the ridge."""
    x, y = prompts()
    asked, order = x[:, :1] + 0.5, np.random.default_rng(1).permutation(8)
    for family in (Pool(D), Dense(D)):
        a = family.posterior(x, y, asked, NOISE)[1]
        b = family.posterior(x[:, order], y[:, order], asked, NOISE)[1]
        assert np.abs(a - b).max() < 1e-10 < np.abs(a - family.posterior(x[:, 1:], y[:, 1:], asked, NOISE)[1]).max()


@pytest.mark.parametrize("count", [4, 32])
def test_on_the_pool_its_posterior_is_best(count):
    """(4) on 4,000 prompts of the pool it is below the ridge; on functions outside of it, above."""
    pool, dense = Pool(D, count=count), Dense(D)
    for family, best, other in ((pool, pool, dense), (dense, dense, pool)):
        x, y = prompts(rows=4000, family=family)
        least, more = (np.square(y - said(each, x, y)).mean() for each in (best, other))
        assert least < 0.9 * more


def test_with_much_noise_the_mean_of_the_pool_is_said():
    """(5)"""
    pool = Pool(D)
    x, y = prompts()
    mean = x @ pool.weights.mean(0)
    assert np.abs(said(pool, x, y, 1e4) - mean).max() < 1e-5 < 0.1 < np.abs(said(pool, x, y) - mean).max()


def test_a_pool_twice_over_is_the_same_pool():
    """(6)"""
    pool = Pool(D)
    x, y = prompts()
    twice = np.concatenate([pool.weights, pool.weights]).T
    for a, b in zip(of_pool(x @ twice, y, x @ twice, NOISE), pool.posterior(x, y, x, NOISE)):
        assert np.abs(a - b).max() < 1e-10


def test_the_pool_never_changes():
    """(7) another process, seed of the data or length has the same one; another seed of its own has not."""
    code = "from blockyard.family.pool import Pool; print(Pool(4, count=3).weights.tobytes().hex())"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = Pool(D, count=3).weights
    assert there == here.tobytes().hex() and not np.array_equal(here, Pool(D, count=3, seed=1).weights)
    task = make_task("in_context:family=pool(count=3),dim=4,noise=1e-6")
    for each in (task, task.stretched(2)):
        for seed in (0, 1):
            x, y = each.pairs(seed, 50)
            nearest = np.abs(y[:, None] - np.einsum("npd,md->nmp", x, here)).max(-1).min(1)
            assert nearest.max() < 1e-4
    assert np.array_equal(Pool(D, count=5).weights[:3], here), "a larger pool holds the smaller one"


def test_what_is_scored_may_lie_outside_of_the_pool():
    """Exams ask about new functions; training shows those of the pool alone."""
    task = make_task("in_context:family=pool(count=2),dim=4,points=8,scored=dense")
    assert repr(task.scored_on) == repr(make_task("in_context:family=dense,dim=4,points=8"))
    pool, asked = Pool(4, count=2), task.scored_on.pairs(0, 200)
    for x, y, near in ((*task.pairs(0, 200), True), (*asked, False)):
        off = np.square(y[:, None] - np.einsum("npd,md->nmp", x, pool.weights)).mean(-1).min(1)
        assert bool((off < 4 * task.noise**2).mean() > 0.95) is near
    names = task.predictors()
    assert "posterior of scored" in names and "posterior of scored" not in task.scored_on.predictors()


@pytest.mark.parametrize(
    "text, says",
    [
        ("family=pool(count=0)", "count=0"), ("family=pool(count=4", "a bracket is open"), ("family=pol", "pool"),
        ("family=pool(sount=3)", "count"), ("family=dense+fourier,dim=1", "vectors of these families differ"),
        ("family=dense,shares=(0.5,0.5)", "one for each family"), ("family=fourier,dim=2", "set dim=1"),
        ("family=sparse(count=3)", "sets of them"), ("family=low_rank,dim=2", "not square"),
        ("family=signs,dim=20", "at most 10"), ("family=pool(4)", "key=value"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(text, says):
    with pytest.raises(UsageError) as told:
        make_task(f"in_context:{text}")
    assert says in str(told.value)


def test_a_decoder_learns_from_its_examples():
    """A few steps on the task bring an unchanged recipe below where it began."""
    task = make_task("in_context:family=pool(count=4),dim=4,points=8,scored=dense")
    system = task.ends.fit(by.spec("llama", "tiny"))
    model = by.build(system)
    done = train(system, model, Exercise(repr(task), task).order(task.length, 16, 0), Settings(steps=30, lr=3e-3))
    assert done.status == "finished" and done.curve[-1][1] < done.curve[0][1]
