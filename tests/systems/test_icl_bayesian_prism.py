"""What must hold of posteriors over families of functions: evidences, mixtures of families, waves."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import blockyard as by
from blockyard.core.draw import Draw
from blockyard.family._base import make_family
from blockyard.family._waves import waves
from blockyard.predictor import along
from blockyard.predictor.bayes import of_features, of_kernel, of_mixture, of_pool, posterior_shares
from blockyard.task import make_task
from blockyard.task._exercise import Exercise
from blockyard.train.loop import Settings, train

NOISE = 0.2
LINEAR = ("dense", "sparse(count=2)", "signs", "centres", "pool(count=6)")
WAVES = ("fourier(most=4)", "fourier_up_to(most=4)")


def prompts(text, rows=6, points=7, dim=4, seed=0):
    family = make_family(text, dim)
    x = family.vectors(Draw(seed, rows), points)
    return family, x, family.drawn(seed, x) + NOISE * Draw(seed + 1, rows).normal(points)


def densities(family, x, y):
    """(rows,) the sum of logarithms of the one-step predictive densities, by evidences of growing contexts alone."""
    total = 0.0
    for i in range(y.shape[1]):
        grid = np.linspace(-12, 12, 4001)
        asked = np.concatenate(
            [np.repeat(y[:, None, :i], len(grid), 1), np.broadcast_to(grid, (len(y), 4001))[..., None]], -1
        )
        here = np.repeat(x[:, None, : i + 1], len(grid), 1)
        shape = (-1, i + 1)
        logs = family.posterior(
            here.reshape(*shape, x.shape[-1]), asked.reshape(shape), here.reshape(*shape, x.shape[-1])[:, :1], NOISE
        )[0]
        logs = logs.reshape(len(y), -1)
        top = logs.max(1, keepdims=True)
        norm = np.log(np.exp(logs - top).sum(1) * (grid[1] - grid[0])) + top[:, 0]
        now = family.posterior(x[:, : i + 1], y[:, : i + 1], x[:, :1], NOISE)[0]
        total = total + now - norm
    return total


@pytest.mark.parametrize(
    "text, dim", [("dense", 2), ("centres", 2), ("pool(count=3)", 2), ("fourier_up_to(most=2)", 1)]
)
def test_the_evidence_is_the_product_of_one_step_densities(text, dim):
    """(1) each density is the evidence with its y, as a share of that with any y."""
    family, x, y = prompts(text, rows=2, points=3, dim=dim)
    whole = family.posterior(x, y, x[:, :1], NOISE)[0]
    assert np.abs(densities(family, x, y) - whole).max() < 1e-8


def test_the_evidence_of_a_gaussian_by_its_chain():
    """(1) the mean and the variance of each step given those before it, to 1e-10."""
    _, x, y = prompts("dense", rows=1, points=6)
    K = x[0] @ x[0].T / 4 + NOISE**2 * np.eye(6)
    total = 0.0
    for i in range(6):
        gain = np.linalg.solve(K[:i, :i], K[:i, i]) if i else np.zeros(0)
        mean, variance = gain @ y[0, :i], K[i, i] - gain @ K[:i, i]
        total -= 0.5 * (np.log(2 * np.pi * variance) + (y[0, i] - mean) ** 2 / variance)
    found = of_features(x, y, x[:, :1], NOISE, 0.5)[0]
    assert abs(found[0] - total) < 1e-10


@pytest.mark.parametrize("text", LINEAR[:1] + WAVES[:1])
def test_evidences_are_those_of_scipy(text):
    """(oracle) the density of a multivariate normal."""
    family, x, y = prompts(text, dim=1 if text in WAVES else 4)
    for a, b, found in zip(x, y, family.posterior(x, y, x, NOISE)[0]):
        known = multivariate_normal(cov=family.covariance(a, a) + NOISE**2 * np.eye(len(b))).logpdf(b)
        assert abs(found - known) < 1e-9 * max(1, abs(known))


def test_shares_of_a_mixture():
    """(2) they have the sum 1, and a mixture of one family is that family."""
    family, x, y = prompts("dense")
    other = make_family("centres", 4)
    found = [each.posterior(x, y, x, NOISE) for each in (family, other)]
    assert np.abs(posterior_shares([0.3, 0.7], found).sum(-1) - 1).max() < 1e-12
    for a, b in zip(of_mixture([1.0], found[:1]), found[0]):
        assert np.abs(a - b).max() < 1e-12


def test_families_that_are_alike():
    """(3) two of the same change nothing, whatever their shares."""
    family, x, y = prompts("dense")
    found = family.posterior(x, y, x, NOISE)
    for a, b in zip(of_mixture([0.3, 0.7], [found, found]), found):
        assert np.abs(a - b).max() < 1e-12
    _, x, y = prompts("sparse(count=2)")
    shares = posterior_shares(
        [0.5, 0.5], [make_family(t, 4).posterior(x, y, x, NOISE) for t in ("dense", "sparse(count=2)")]
    )
    assert shares[:, 1].mean() > 0.55, "what made the examples is found"


def test_waves_by_features_and_by_kernel():
    """(4) the evidence with a fixed basis of waves equals that of the kernel, and the means too."""
    family, x, y = prompts("fourier(most=10)", dim=1, points=9)
    size = 11**-0.5
    by_kernel = of_kernel(family.covariance(x, x), y, family.covariance(x, x), NOISE)
    phi = waves(x, 10)
    weights = np.linalg.solve(
        phi.swapaxes(1, 2) @ phi + NOISE**2 / size**2 * np.eye(21), (phi.swapaxes(1, 2) @ y[..., None])
    )[..., 0]
    assert np.abs(by_kernel[1] - (phi @ weights[..., None])[..., 0]).max() < 1e-9
    inner = NOISE**2 / size**2 * np.eye(21) + phi.swapaxes(1, 2) @ phi
    whole = np.square(y - (phi @ weights[..., None])[..., 0]).sum(-1) / NOISE**2 + np.square(weights).sum(-1) / size**2
    logs = -0.5 * (
        whole + 9 * np.log(2 * np.pi * NOISE**2) + np.linalg.slogdet(inner)[1] - 21 * np.log(NOISE**2 / size**2)
    )
    assert np.abs(by_kernel[0] - logs).max() < 1e-8
    assert (
        phi.shape == (6, 9, 21)
        and np.abs(np.square(waves(np.linspace(-1, 1, 2001)[:-1, None], 3)).mean(0) - [1, *[0.5] * 6]).max() < 1e-9
    )


@pytest.mark.parametrize("members", [("dense", "centres"), ("dense", "sparse(count=1)"), ("signs", "dense")])
def test_the_mixture_is_below_each_of_its_members(members):
    """(5) on prompts of the mixture, by the mean over places."""
    task = make_task(f"in_context:family={'+'.join(members)},dim=4,points=8,noise=0.2")
    x, y = task.pairs(0, 1500)
    rules = [task._rules["posterior"]]
    for text in members:
        family = make_family(text, 4)
        rules.append(lambda a, b, q, family=family: family.posterior(a, b, q, 0.2)[1])
    best, *others = (np.square(y - along(rule, x, y)).mean() for rule in rules)
    assert best < min(others)


@pytest.mark.parametrize("text", ["dense+centres", "dense+sparse+signs", "pool(count=3)+dense"])
def test_the_order_of_examples_changes_nothing(text):
    """(6) of any mixture."""
    task = make_task(f"in_context:family={text},dim=4,points=8")
    x, y = task.pairs(0, 20)
    rule, order = task._rules["posterior"], np.random.default_rng(0).permutation(7)
    a = rule(x[:, :7], y[:, :7], x[:, 7:])
    assert np.abs(a - rule(x[:, order], y[:, order], x[:, 7:])).max() < 1e-9


def test_few_examples_say_which_family_it_is():
    """Functions far from those of the other family are told after two examples."""
    _, x, y = prompts("centres", rows=2000, points=2)
    found = [make_family(t, 4).posterior(x, y, x, NOISE) for t in ("dense", "centres")]
    assert posterior_shares([0.5, 0.5], found)[:, 1].mean() > 0.5


def test_evidences_far_below_any_number():
    """Noise of a thousandth and functions of other families: shares are numbers, and one of them is 1."""
    _, x, y = prompts("fourier(most=4)", dim=1, points=40)
    found = [of_pool(np.zeros((*x.shape[:2], 2)), y, x[..., 0][..., None] * [1, 2], 1e-3), (np.zeros(6), y)]
    shares = posterior_shares([0.5, 0.5], found)
    assert np.isfinite(shares).all() and np.abs(shares[:, 1] - 1).max() < 1e-12


def test_a_decoder_learns_from_its_examples():
    """A few steps on the task bring an unchanged recipe below where it began."""
    task = make_task("in_context:family=fourier_up_to,dim=1,points=8")
    system = task.ends.fit(by.spec("llama", "tiny"))
    model = by.build(system)
    done = train(system, model, Exercise(repr(task), task).order(task.length, 16, 0), Settings(steps=30, lr=3e-3))
    assert done.status == "finished" and done.curve[-1][1] < done.curve[0][1]
