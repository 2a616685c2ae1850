"""What must hold of softmax regression: its slope, what moves make up for, their bounds; the task and the probe."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import UsageError
from blockyard.predictor.softmax_regression import (
    as_change,
    descended,
    gradient,
    loss,
    moved,
    rows_bound,
    step_bound,
    weights_of,
)
from blockyard.probe import weight_shift_probe
from blockyard.task import make_task
from blockyard.task._check import score
from blockyard.task._exercise import Exercise

F64 = torch.float64


def problems(count=7, n=16, d=8, size=1.0, seed=0):
    """Rows A, x, and data b that is a distribution."""
    draw = np.random.default_rng(seed)
    b = draw.dirichlet(np.ones(n), count)
    return size * draw.normal(size=(count, n, d)), draw.normal(size=(count, d)), b


def test_the_slope_is_that_of_autograd():
    """(1) A'J (f - b) is the gradient of half the squared distance, to 1e-12; without the Jacobian it is not."""
    rows, x, b = problems()
    leaf = torch.tensor(x, requires_grad=True)
    f = torch.softmax((torch.tensor(rows) @ leaf[..., None])[..., 0], -1)
    total = 0.5 * (f - torch.tensor(b)).square().sum()
    (slope,) = torch.autograd.grad(total, leaf)
    assert np.abs(gradient(rows, x, b) - slope.numpy()).max() < 1e-12
    assert abs(loss(rows, x, b).sum() - float(total.detach())) < 1e-12
    plain = (f.detach().numpy() - b)[..., None, :] @ rows
    assert np.abs(plain[..., 0, :] - slope.numpy()).max() > 0.1


def test_a_move_is_made_up_for_by_other_data():
    """(2) L(x'; A, b) = L(x; A, b~), exactly, and the same of other rows."""
    rows, x, b = problems()
    other, changed = x - 3.0 * gradient(rows, x, b), rows + 0.3 * problems(seed=1)[0]
    for after, left in ((weights_of(rows, other), loss(rows, other, b)), (weights_of(changed, x), loss(changed, x, b))):
        data = moved(b, weights_of(rows, x), after)
        assert np.abs(loss(rows, x, data) - left).max() < 1e-14
        assert np.abs(data.sum(-1) - 1).max() < 1e-14, "what is added sums to 0"
        assert np.abs(loss(rows, x, 2 * b - data) - left).max() > 1e-3


def test_the_jacobian_of_a_softmax_is_no_larger_than_a_half():
    """(3) and two rows that tie, high above all others, come near it."""

    def size(f):
        return np.linalg.norm(f[..., None] * np.eye(f.shape[-1]) - f[..., :, None] * f[..., None, :], 2, axis=(-2, -1))

    draw = np.random.default_rng(0)
    many = weights_of(10 * draw.normal(size=(5000, 6, 3)), draw.normal(size=(5000, 3)))
    assert size(many).max() <= 0.5 + 1e-12
    tie = weights_of(np.array([[10.0], [10.0], [0.0]]), np.ones(1))
    assert 0.4999 < size(tie) <= 0.5


def test_a_step_is_a_change_of_the_rows_of_rank_one():
    """(4) A (x + dx) = (A + dA) x."""
    rows, x, _ = problems()
    dx = problems(seed=2)[1]
    change = as_change(rows, x, dx)
    assert np.abs((rows @ (x + dx)[..., None]) - (rows + change) @ x[..., None]).max() < 1e-12
    assert (np.linalg.matrix_rank(change) == 1).all()


@pytest.mark.parametrize("size", [0.2, 1.0, 5.0])
def test_no_move_passes_its_bound(size):
    """(5) in 10,000 draws of each size; a bound of half of it is passed, so that it says something."""
    draw = np.random.default_rng(3)
    rows, x, _ = problems(10_000, n=3, d=2, size=size, seed=4)
    far = np.exp(draw.normal(size=10_000) - 2)
    dx, change = draw.normal(size=x.shape) * far[:, None], draw.normal(size=rows.shape) * far[:, None, None]
    f = weights_of(rows, x)
    by_step = np.linalg.norm(weights_of(rows, x + dx) - f, axis=-1) / step_bound(rows, dx)
    by_rows = np.linalg.norm(weights_of(rows + change, x) - f, axis=-1) / rows_bound(change, x)
    assert by_step.max() <= 1 and by_rows.max() <= 1
    assert min(by_step.max(), by_rows.max()) > 0.5


def test_a_constant_on_all_scores_changes_nothing():
    """(6) weights are the same, also where exponentials alone would overflow."""
    rows, x, _ = problems()
    shift = 2000 * x / np.square(x).sum(-1, keepdims=True)  # A x rises by 2000 everywhere
    assert np.abs(weights_of(rows + shift[:, None], x) - weights_of(rows, x)).max() < 1e-10


def test_nothing_done_moves_nothing():
    """(7) a rate of 0 and rows that stay."""
    rows, x, b = problems()
    assert (descended(rows, b, 5, 0.0) == 0).all()
    f = weights_of(rows, x)
    assert (moved(b, f, weights_of(rows, x - 0.0 * gradient(rows, x, b))) == b).all()
    assert (rows_bound(rows - rows, x) == 0).all() and (as_change(rows, x, 0 * x) == 0).all()
    assert (loss(rows, descended(rows, b, 5, 4.0), b) < loss(rows, 0 * x, b)).all()


def test_the_task_is_what_it_says():
    """(8) weights of mean 1, scores of variance 1, none shown of a row that is asked; more steps are nearer."""
    task = make_task("softmax_regression:rows=12,asked=6")
    tokens, targets = task.sample(0, 1500)
    assert np.abs(tokens[:, :12, 0].mean(1) - 1).max() < 1e-5 and (tokens[:, 12:, 0] == 0).all()
    assert np.isnan(targets[:, :12]).all() and abs(targets[:, 12:].var() - 1) < 0.05
    shown = task.sample(1, 400)
    found = {name: score(task, predictor, shown) for name, predictor in task.predictors().items()}
    ordered = [found[name] for name in ("oracle", "8 steps", "4 steps", "2 steps", "1 steps", "0 steps")]
    assert ordered == sorted(ordered) and ordered[0] < 0.7 * ordered[1] < 0.5 * ordered[-1]
    for name, none in (("4 steps", "from 4 steps"), ("oracle", "from the best")):
        sums = np.asarray(task.priced(task.predictors()[name](shown.tokens), shown)).sum(0)
        figures = task.figures(sums, 400.0)
        assert figures.pop(none) == 0 and min(figures.values()) > 0.01 and len(figures) == 5


def test_the_oracle_is_the_posterior_mean():
    """(8) against weighed draws of x: what the logarithms of the weights tell, without their common constant."""
    task = make_task("softmax_regression:dim=2,rows=5,asked=2,noise=0.8")
    tokens = task.sample(3, 1).tokens
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200_000, 2)) * 2**-0.5
    plain = tokens.astype(float)
    off = np.log(plain[0, :5, 0]) - x @ plain[0, :5, 1:].T
    off -= off.mean(1, keepdims=True)
    logs = -0.5 * np.square(off).sum(1) / 0.8**2
    weights = np.exp(logs - logs.max())
    mean = weights @ x / weights.sum()
    assert np.abs(task.solve(tokens)[0, 5:, 0] - plain[0, 5:, 1:] @ mean).max() < 0.03


def test_the_probe_sees_layers_and_keeps_the_bound():
    """(5) of every step, of ids and of vectors; a step that writes nothing moves nothing."""
    material = Exercise("", make_task("softmax_regression"))
    rows = material.held.exams["tune"].tokens[:6]
    model = by.build(material.fit(by.spec("llama", "tiny"))).double()
    with torch.no_grad():
        model.steps[0].part.out.weight.zero_()
    found = weight_shift_probe(model, rows)
    assert list(found)[:4] == [f"steps.0.part:{name}" for name in ("shift", "bound", "step", "cosine")]
    assert all(value.shape == (6,) for value in found.values()) and len(found) == 4 * len(model.steps)
    assert max(abs(found[f"steps.0.part:{name}"]).max() for name in ("shift", "bound", "step")) == 0
    for path in ("steps.1.part", "steps.2.part"):
        shift, bound, step = (found[f"{path}:{name}"] for name in ("shift", "bound", "step"))
        assert (shift > 0).all() and (shift <= bound).all() and (step <= bound * (1 + 1e-9)).all()
        assert (np.abs(found[f"{path}:cosine"]) <= 1).all() and (found[f"{path}:cosine"] > 0).all()
    by_ids = weight_shift_probe(by.build("gla", "tiny"), np.arange(20).reshape(2, 10))
    assert by_ids["steps.0.part:shift"].shape == (2,)
    with pytest.raises(UsageError, match="vectors"):
        weight_shift_probe(model, rows[0])
