"""What must hold of a search whose centres are written by whoever reads its past."""

import math

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import UsageError
from blockyard.decode.answers import answers
from blockyard.predictor.evolution import Coding, evolve, hill_climb
from blockyard.predictor.landscapes import LANDSCAPES, landscape
from blockyard.study import evollm as study
from blockyard.study._base import FAILS, HOLDS, OPEN, Given
from blockyard.task import make_task

LOW, HIGH = -5.0, 5.0


def bowl(x):
    return np.square(x - 1.3).sum(-1)


def setting(n=4, shown=2, population=6, dim=2, generations=7, seed=0):
    """start (n,K,N,D) and noise (n,G,N,D)."""
    draw = np.random.default_rng(seed)
    start = draw.uniform(LOW, HIGH, (n, shown, population, dim))
    return start, draw.normal(size=(n, generations, population, dim))


def elite(coding, count=3):
    return lambda rows, time: coding.elite_mean(rows, count)


@pytest.mark.parametrize("low, high, steps", [(-5.0, 5.0, 50), (0.0, 1.0, 1000), (-3.0, 7.5, 7)])
def test_coding_errs_by_half_a_step_at_most(low, high, steps):
    """(1) in every coordinate; numbers outside of the box become its edge."""
    coding = Coding(3, steps)
    x = np.random.default_rng(0).uniform(low, high, (500, 3))
    q = coding.encode(x, low, high)
    assert np.abs(coding.decode(q, low, high) - x).max() <= (high - low) / (2 * steps) * (1 + 1e-12)
    assert (
        q.min() >= 0 and q.max() <= steps and {0, steps} >= {*coding.encode(np.array([low - 9, high + 9]), low, high)}
    )
    assert np.array_equal(coding.encode(coding.decode(q, low, high), low, high), q)


def past(seed=0, n=30, shown=3, population=5):
    """Places of few values, so that some members are alike, and their fitness."""
    draw = np.random.default_rng(seed)
    q = draw.integers(0, 6, (n, shown, population, 2))
    return q, np.square(q - 2.2).sum(-1)


def test_only_the_order_of_the_fitness_is_written():
    """(2) monotone transforms change nothing, another order does."""
    q, f = past()
    rows = Coding(2, 10, 3, 4).rows(q, f)
    for change in (np.exp, lambda x: 3 * x - 7, lambda x: -1 / (1 + x), np.sqrt):
        assert np.array_equal(Coding(2, 10, 3, 4).rows(q, change(f)), rows)
    assert (Coding(2, 10, 3, 4).rows(q, -f) != rows).any(1).mean() > 0.9


def test_the_order_of_the_archive_is_not_written():
    """(2) members and generations may be shuffled; as they come, they may not."""
    q, f = past()
    draw, n = np.random.default_rng(1), np.arange(len(q))[:, None]
    generations = np.argsort(draw.random(f.shape[:2]), 1)
    mixed_q, mixed_f = q[n, generations], f[n, generations]
    members = np.argsort(draw.random(f.shape), 2)
    mixed_q, mixed_f = np.take_along_axis(mixed_q, members[..., None], 2), np.take_along_axis(mixed_f, members, 2)
    for ordered in (True, False):
        coding = Coding(2, 10, 3, 4, ordered)
        same = (coding.rows(q, f) == coding.rows(mixed_q, mixed_f)).all(1)
        assert same.all() if ordered else same.mean() < 0.1
    kept = [np.sort(Coding(2, 10, 3, 4, o).rows(q, f)[:, :-1].reshape(len(q), -1, 3), 1) for o in (True, False)]
    assert np.array_equal(*kept), "the same members, ranks and numbers"


def test_rows_rise_from_the_least_to_the_best():
    """(2) generations by their best member, members inside, the query above all; counted by hand."""
    q = np.array([[[[1, 1], [4, 4], [2, 2]], [[3, 3], [5, 5], [0, 0]]]])
    f = np.array([[[1.0, 9.0, 2.0], [0.5, 7.0, 3.0]]])
    assert Coding(2, 9, 2, 2).rows(q, f)[0].tolist() == [11, 2, 2, 12, 1, 1, 10, 0, 0, 13, 3, 3, 14]
    assert Coding(2, 9, 2, 2).elite_mean(Coding(2, 9, 2, 2).rows(q, f), 2).tolist() == [[2, 2]]


@pytest.mark.parametrize("shown", [1, 2])
def test_a_writer_of_elite_means_is_a_strategy(shown):
    """(3) bit for bit the (mu, lambda) strategy with the mean of places, at equal seeds; one run after the other, in
    plain Python."""
    coding, mu, sigma = Coding(2, 100, shown, 4), 3, 0.1
    start, noise = setting(shown=shown)
    run = evolve(elite(coding, mu), bowl, coding, start, noise, low=LOW, high=HIGH, sigma=sigma)
    for n in range(len(start)):
        seen = [[list(x) for x in generation] for generation in start[n].tolist()]
        for g in range(noise.shape[1]):
            last = [x for generation in seen[-shown:] for x in generation]
            best = sorted(last, key=lambda x: bowl(np.array(x)))[:mu]
            places = [[round((v - LOW) / (HIGH - LOW) * 100) for v in x] for x in best]
            mean = [math.floor(sum(x[d] for x in places) / mu + 0.5) for d in range(2)]
            centre = [LOW + place / 100 * (HIGH - LOW) for place in mean]
            assert run.centres[n, shown + g].tolist() == centre
            step = sigma * (HIGH - LOW)
            seen.append(
                [[min(max(c + step * e, LOW), HIGH) for c, e in zip(centre, each)] for each in noise[n, g].tolist()]
            )
        assert run.x[n].tolist() == seen and not run.unwritten.any()


GARBAGE = {
    "nothing": lambda rows, time: [[] for _ in rows], "words": lambda rows, time: [["a", None]] * len(rows),
    "outside": lambda rows, time: np.full((len(rows), 2), 10**9),
    "below": lambda rows, time: np.full((len(rows), 2), -1),
    "no row": lambda rows, time: [None] * len(rows), "no number": lambda rows, time: np.full((len(rows), 2), np.nan),
    "too few rows": lambda rows, time: [], "endless": lambda rows, time: np.full((len(rows), 2), np.inf),
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_keeps_the_best_centre_and_stays_in_the_box(name):
    """(4) the best so far never worsens, (5) evaluations are generations times members, (6) nothing crashes."""
    coding, asked, evaluated = Coding(2, 50), [], []
    start, noise = setting()

    def ask(rows, time):
        asked.append(time)
        return GARBAGE[name](rows, time)

    def evaluate(x):
        evaluated.append(x.shape[:2])
        return bowl(x)

    run = evolve(ask, evaluate, coding, start, 5 * noise, sigma=0.5, retries=2)
    assert evaluated == [(4, 6)] * (2 + 7) and asked == [0, 1, 2] * 7 and (run.unwritten == 7).all()
    assert (np.diff(run.best, axis=1) <= 0).all() and run.best.shape == (4, 9)
    assert run.x.min() >= LOW and run.x.max() <= HIGH
    held = run.f[:, :2].min(2).argmin(1)
    assert np.array_equal(run.centres[:, 2], run.centres[np.arange(4), held])


def test_asked_again_are_those_that_wrote_nothing():
    """(5) a second answer costs no evaluation and counts; rows that wrote a centre are not asked again."""
    coding, sizes = Coding(2, 50), []
    start, noise = setting(generations=1)

    def ask(rows, time):
        sizes.append(len(rows))
        return [[3, 4] if time or i % 2 else [] for i in range(len(rows))]

    run = evolve(ask, bowl, coding, start, noise)
    assert sizes == [4, 2] and not run.unwritten.any()
    assert np.allclose(run.centres[:, 2], coding.decode(np.array([3, 4]), LOW, HIGH))


def test_the_best_so_far_is_the_least_of_all_before():
    """(4) and (5) of an honest run; a value that is no number is no best."""
    coding = Coding(2, 50)
    start, noise = setting()
    torn = lambda x: np.where(x[..., 0] > 2, np.nan, bowl(x))  # noqa: E731
    run = evolve(elite(coding), torn, coding, start, noise)
    for n in range(4):
        assert run.best[n].tolist() == [float(np.nanmin(run.f[n, : g + 1])) for g in range(9)]
    assert np.isnan(run.f).any() and np.isfinite(run.best).all()


def test_more_numbers_are_asked_for_in_blocks():
    """A coding of 2 numbers searches 6, three questions a generation, each of its own numbers."""
    coding, rows_of = Coding(2, 100), []
    start, noise = setting(dim=6)

    def ask(rows, time):
        rows_of.append(rows)
        return coding.elite_mean(rows, 3)

    run = evolve(ask, bowl, coding, start, noise)
    assert len(rows_of) == 3 * 7 and {rows.shape for rows in rows_of} == {(4, coding.length)}
    q, f = coding.encode(run.x[:, :2], LOW, HIGH), run.f[:, :2]
    for block in range(3):
        assert np.array_equal(rows_of[block], coding.rows(q[..., 2 * block : 2 * block + 2], f))
    assert np.median(run.best[:, -1]) < np.median(run.best[:, 1]) / 3
    with pytest.raises(UsageError, match="a multiple of 4 numbers"):
        evolve(ask, bowl, Coding(4, 100), start, noise)


def test_a_strategy_finds_what_chance_and_climbing_do_not():
    """At equal evaluations its median regret on the sphere is below that of random points; it is no worse a climber."""
    coding, n = Coding(2, 1000, 2, 3), 60
    start, noise = setting(n, population=5, generations=18, seed=3)
    shift = np.random.default_rng(4).uniform(-4, 4, (n, 1, 2))
    moved = lambda x: np.square(x - shift).sum(-1)  # noqa: E731
    run = evolve(elite(coding), moved, coding, start, noise, sigma=0.1, decay=0.85)
    many = np.random.default_rng(5).uniform(LOW, HIGH, (n, 100, 2))
    climbed = hill_climb(moved, start[:, 0, 0], noise.reshape(n, -1, 2), sigma=0.1)
    found, chance = np.median(run.best[:, -1]), np.median(moved(many).min(1))
    assert found < chance / 3 and found < np.median(climbed[:, -1]) and climbed.shape == (n, 91)
    assert (np.diff(climbed, axis=1) <= 0).all()


def test_landscapes_are_those_of_scipy():
    """The oracle: Rosenbrock's valley; all are 0 at the shift and above it elsewhere."""
    optimize = pytest.importorskip("scipy.optimize")
    z = np.random.default_rng(0).normal(size=(20, 4))
    assert np.allclose(landscape("rosenbrock")(z), [optimize.rosen(row + 1) for row in z])
    for function in LANDSCAPES.values():
        assert function(np.zeros((1, 4)))[0] == 0 < function(z).min()


def test_landscapes_are_those_of_cma():
    """The oracle: the functions that the package cma is tried on, and what its strategy finds is found here as well."""
    cma = pytest.importorskip("cma")
    z = np.random.default_rng(0).normal(size=(5, 4))
    theirs = dict(sphere=cma.ff.sphere, rastrigin=cma.ff.rastrigin, ellipsoid=cma.ff.elli)
    for name, function in theirs.items():
        assert np.allclose(landscape(name)(z), [function(row) for row in z], rtol=1e-10)
    assert np.allclose(landscape("rosenbrock")(z), [cma.ff.rosen(row + 1) for row in z])


def test_the_task_asks_for_the_centre_of_the_teacher():
    """Every row is one that a run of the strategy was shown, and the answer what it wrote; counted member by member."""
    task = make_task("bbob:resolution=40,elite=2")
    tokens, targets = task.sample(0, 200)
    for row, asked in zip(tokens.tolist(), targets.tolist()):
        members = sorted((row[i : i + 3] for i in range(0, task.coding.length - 1, 3)), reverse=True)
        assert [m[0] for m in members] == list(range(40 + task.coding.members, 40, -1))
        mean = [math.floor((members[0][d] + members[1][d]) / 2 + 0.5) for d in (1, 2)]
        assert [x for x in asked if x >= 0] == mean and row[-1] == mean[0] and asked[-1] == mean[1]
    assert task.scored_on is task and make_task("bbob:scored=rosenbrock").scored_on.functions == "rosenbrock"


@pytest.mark.parametrize("text, says", [
    ("functions=spheer", "sphere"), ("kept=9", "cannot be shown"), ("elite=7", "cannot be the best"),
    ("dim=1,functions=rosenbrock", "2 numbers"), ("resolution=5", "coarser"),
])  # fmt: skip
def test_what_cannot_be_searched_is_refused(text, says):
    with pytest.raises(UsageError, match=says):
        make_task(f"bbob:{text}")


def test_a_model_steers_a_search():
    """(6) a model that knows nothing writes garbage, or with a checker places; either way the run is whole."""
    task = make_task("bbob:resolution=20")
    model = by.build(task.ends.fit(by.spec("llama", "tiny"))).eval()
    start, noise = setting(n=3, population=8, generations=2)
    places = range(21)
    for allowed in (None, lambda ids: places):
        ask = answers(model, task.dim, by.SamplingParams(seed=1), allowed)
        run = evolve(ask, bowl, task.coding, start, noise)
        assert run.x.shape == (3, 4, 8, 2) and (allowed is None or not run.unwritten.any())
    rows = task.sample(0, 3).tokens[:, : task.coding.length]
    greedy = torch.stack(
        [s.tokens for s in by.generate(model, torch.from_numpy(rows), 2, by.SamplingParams(temperature=0))]
    )
    assert np.array_equal(answers(model, 2)(rows, 0), greedy.T.numpy())
    drawn = answers(model, 2, by.SamplingParams(temperature=3.0))
    assert np.array_equal(drawn(rows, 0), drawn(rows, 0)) and not np.array_equal(drawn(rows, 0), drawn(rows, 1))


def test_the_study_searches_with_its_models_and_counts_alike(monkeypatch):
    """(5) Whoever searches evaluates as often; a model that writes what the teacher does finds what the teacher finds,
    and on the sphere more than chance and climbing."""
    counted, truth = [], study.landscape

    def landscape(name):
        def value(z):
            counted.append(z.shape[1])
            return truth(name)(z)

        return value

    monkeypatch.setattr(study, "landscape", landscape)
    coding = make_task(study.CONTEXTS).coding
    models = {"in order": lambda rows, time: coding.elite_mean(rows, 2), "as they came": lambda rows, time: []}
    found = study.outcomes("sphere", models, 0, 40, 20)
    assert found["in order"] == found["teacher"] < min(found["chance"], found["climbing"], found["as they came"])
    assert sum(counted) == 5 * 20 * study.MEMBERS and set(counted) == {1, study.MEMBERS, 20 * study.MEMBERS}
    assert study.outcomes("sphere", models, 0, 40, 20) == found != study.outcomes("sphere", models, 1, 40, 20)


def test_each_model_searches_as_it_was_taught_to_read():
    """Of every function there is a figure of all who search; one of the models is shown members in order."""
    shown = []

    def trained(race, arm):
        task = make_task(study.RACES[race])
        shown.append((race, arm, task.coding.ordered))
        return by.build(task.ends.fit(by.spec("llama", "tiny"))).eval()

    found = study.searched(Given(0, "smoke", trained))
    assert shown == [("in order", "llama", True), ("as they came", "llama", False)]
    who = (*study.RACES, "teacher", "chance", "climbing")
    assert found.keys() == {f"{function} {each}" for function in study.FUNCTIONS for each in who}
    assert all(0 <= value < math.inf for value in found.values())


def test_who_beats_whom_is_told_seed_by_seed():
    """On two of three functions, against all of the others at once."""

    def figures(*wins):
        ends = {}
        for function, won in zip(study.FUNCTIONS, wins):
            ends |= {
                f"{function} in order": 0.5,
                f"{function} chance": 1.0,
                f"{function} climbing": 0.9 if won else 0.4,
            }
        return ends

    judge = study.beats("in order", ("chance", "climbing"), 2).judge
    two, one = figures(True, False, True), figures(False, False, True)
    assert judge([two, two]) == (HOLDS, 2.0, 2) and judge([two, one]).verdict == OPEN
    assert judge([one, one]) == (FAILS, 1.0, 2) and judge([two, two | {"sphere chance": None}]).verdict == OPEN
