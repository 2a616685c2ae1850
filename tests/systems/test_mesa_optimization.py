"""What must hold of a step of gradient descent on turning vectors: its size, its forms, when it is exact; the layer."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.func import functional_call

import blockyard as by
from blockyard.core import Axis, Batch, Site, Spec, UsageError
from blockyard.core.site import BuildContext
from blockyard.parts.mixer.linear.merged_attention import as_complex
from blockyard.predictor.unitary import best_rate, exact, one_step, rate_of
from blockyard.task import make_task
from blockyard.task._check import score

A, B = 0.3, 0.5  # of the blocks of the layer


def turned(first, angles, length):
    """x (n,T,d) of first vectors and angles (n,d)."""
    return first[:, None] * np.exp(1j * angles[:, None] * np.arange(length)[:, None])


def law(length, roots, sizes=(0.5, 1.4)):
    """All sequences of two numbers whose angles are roots of unity: means over them are means over all angles."""
    first = [np.array(f) * s for f in (sizes, sizes[::-1]) for s in product((1, -1), repeat=2)]
    angles = [np.array(a) * 2 * np.pi / roots for a in product(range(roots), repeat=2)]
    pairs = [(f, a) for f in first for a in angles]
    return turned(np.stack([f for f, _ in pairs]), np.stack([a for _, a in pairs]), length)


def best_by_least_squares(x):
    """The rate that brings the steps nearest to the next vectors."""
    said, goal = one_step(x, 1.0)[:, 1:-1], x[:, 2:]
    return float((np.conj(said) * goal).real.sum() / np.square(np.abs(said)).sum())


def tokens_of(x):
    """(n,T,3d) of 0, x_t, x_{t-1}."""
    before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], 1)
    return np.concatenate([np.zeros_like(x), x, before], -1)


def halves(x):
    """(n,T,2D) real parts, then imaginary ones."""
    return torch.from_numpy(np.concatenate([x.real, x.imag], -1))


def mixer(dim, **settings):
    """A mixer alone, in double precision."""
    site = Site("", Axis("stream", dim), BuildContext(0, Spec("linear", "dense")))
    return site.build("mixer", Spec.of("mixer", "merged_attention", settings)).double()


def layer(dim, a=A, b=B):
    """Over 3d complex channels, of which only the blocks (x_{t-1}, x_t) of KQ and (0, x_t) of PV are not 0."""
    kq, pv = (torch.zeros(3, 3, dtype=torch.complex128) for _ in range(2))
    kq[2, 1], pv[0, 1] = a, b
    made, unit = mixer(6 * dim, less=1), torch.eye(dim, dtype=torch.complex128)
    made.load_state_dict(as_complex(made, torch.kron(kq, unit), torch.kron(pv, unit)))
    return made


def alone(made):
    """The layer as a model whose ends change nothing."""
    dim = made.stream.size
    model = by.build("mesa_optimization", dim=dim, channels=dim, outputs=dim).double()
    with torch.no_grad():
        for end in (model.stem.proj, model.head.proj):
            end.weight.copy_(torch.eye(dim))
            end.bias.zero_()
        model.steps[0].part.load_state_dict(made.state_dict())
    return model


def said_by(made, x, state=None):
    """(n,T,d) complex: what the layer writes into the block of zeros."""
    y, dim = made(halves(tokens_of(x)), state=state)[0], x.shape[-1]
    return torch.complex(y[..., :dim], y[..., 3 * dim : 4 * dim])


def test_the_size_of_the_step_is_the_best_one():
    """(1) exactly over all sequences of a small law, and over draws of normal numbers; 0.1761 for d = 3, T = 10."""
    small = law(5, 24)
    assert abs(best_rate(small[:, 0].real, 5) / best_by_least_squares(small) - 1) < 1e-12
    known = rate_of(3.0, 15.0, 6.0, 10)
    assert round(known, 4) == 0.1761
    draw = np.random.default_rng(0)
    many = turned(draw.normal(size=(40_000, 3)), 2 * np.pi * draw.random((40_000, 3)), 10)
    assert abs(best_by_least_squares(many) / known - 1) < 0.03
    assert abs(best_by_least_squares(many) / best_rate(many[:, 0], 10) - 1) < 0.02
    assert abs(rate_of(3.0, 15.0, 0.0, 10) / known - 1) > 0.1, "without the other numbers it is another one"


def test_a_step_is_one_of_gradient_descent():
    """(2) at every place it is what autograd makes of the mean squared error of the pairs before, from W = 0."""
    x = law(6, 7)[5:8]
    said = one_step(x, 0.4)
    for t in range(1, 6):
        pairs = torch.from_numpy(x[:, : t + 1])
        w = torch.zeros(3, 2, 2, dtype=torch.complex128, requires_grad=True)
        off = pairs[:, 1:] - torch.einsum("njk,ntk->ntj", w, pairs[:, :-1])
        (slope,) = torch.autograd.grad((off.abs() ** 2).sum((1, 2)).div(2 * t).sum(), w)
        assert np.abs(said[:, t] - torch.einsum("njk,nk->nj", -0.4 * slope, pairs[:, t]).numpy()).max() < 1e-12
    assert (said[:, 0] == 0).all()


def test_the_layer_is_the_step_and_streams():
    """(2) all places at once, piece by piece with the state carried, and the sum itself are one, to 1e-12."""
    x = law(9, 7)[3:7]
    made, told = layer(2), one_step(x, A * B)
    assert np.abs(said_by(made, x).detach().numpy() - told).max() < 1e-12
    unconjugated = one_step(np.conj(x), A * B)
    assert np.abs(unconjugated - told).max() > 0.01
    e, state, pieces = halves(tokens_of(x)), None, []
    model = alone(made)
    state = model.init_state(4)
    for piece in e.split([3, 1, 5], 1):
        out = model(Batch(piece), state)
        state, _ = out.state, pieces.append(out.prediction["values"])
    y = torch.cat(pieces, 1) - e
    assert np.abs(torch.complex(y[..., :2], y[..., 6:8]).detach().numpy() - told).max() < 1e-12


def loss(made, kq, pv, x):
    """Of the layer of these complex matrices: the squared error over all places from the second on."""
    dim = x.shape[-1]
    y = functional_call(made, as_complex(made, kq, pv), (halves(tokens_of(x)),))[0][:, 1:-1]
    off = torch.complex(y[..., :dim], y[..., 3 * dim : 4 * dim]) - torch.from_numpy(x[:, 2:])
    return 0.5 * (off.abs() ** 2).sum((1, 2)).mean()


def matrices(dim, gain):
    """The diagonal start (3d,3d): gain in the block (x_{t-1}, x_t) of KQ and in (0, x_t) of PV."""
    unit = gain * torch.eye(dim, dtype=torch.complex128)
    places = [torch.zeros(3, 3, dtype=torch.complex128) for _ in range(2)]
    places[0][2, 1], places[1][0, 1] = 1, 1
    return [torch.kron(place, unit).requires_grad_() for place in places]


def test_only_the_two_blocks_have_a_slope():
    """(3) in the mean over a whole law nothing else in full matrices has one; in the blocks it is a multiple of I."""
    made, start, x = mixer(12, less=1), matrices(2, 0.4), law(4, 12)
    for slope, at in zip(torch.autograd.grad(loss(made, *start, x), start), start):
        block = at.detach() / 0.4
        size = (slope * block).sum() / 2
        assert size.real < -0.1 and (slope - size * block).abs().max() < 1e-12
    of_few = torch.autograd.grad(loss(made, *start, x[:5]), start)
    assert all((slope * (at == 0)).abs().max() > 0.01 for slope, at in zip(of_few, start))


def test_training_finds_the_step():
    """(3) from the diagonal start full matrices end at the size of the closed form, within 3%, and in their blocks."""
    first, angles = np.meshgrid([0.5, 1.4], 2 * np.pi * np.arange(12) / 12)
    x = turned(first.reshape(-1, 1), angles.reshape(-1, 1), 4)
    made, learned, known = mixer(6, less=1), matrices(1, 0.1), best_rate(x[:, 0], 4)
    descent = torch.optim.LBFGS(learned, max_iter=15, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        descent.zero_grad()
        error = loss(made, *learned, x)
        error.backward()
        return error

    descent.step(closure)
    kq, pv = (each.detach().clone() for each in learned)
    assert abs(kq[2, 1] * pv[0, 1] / known - 1) < 0.03 < 0.5 < abs(0.01 / known - 1)
    kq[2, 1], pv[0, 1] = 0, 0
    assert max(kq.abs().max(), pv.abs().max()) < 1e-6


def test_one_number_is_recovered():
    """(4) of x_1 = c e_j the rate is 1/c^2 and nothing is left to say, to 1e-12."""
    c, angles = 1.7, 2 * np.pi * np.random.default_rng(0).random((6, 3))
    first = c * np.eye(3)[[0, 1, 2, 0, 1, 2]]
    rate = best_rate(first, 8)
    x = turned(first, angles, 8)
    assert abs(rate - c**-2) < 1e-12
    assert np.abs(one_step(x, rate)[:, 1:-1] - x[:, 2:]).max() < 1e-12
    assert np.abs(exact(x)[:, 1:-1] - x[:, 2:]).max() < 1e-12


def test_normal_numbers_are_not_recovered():
    """(5) over long sequences a step says each number times its first square over 5 s^2."""
    draw, s = np.random.default_rng(2), 1.3
    first, length = s * draw.normal(size=(4, 3)), 4000
    x = turned(first, 2 * np.pi * draw.random((4, 3)), length)
    rate = rate_of(3 * s**4, 15 * s**6, 6 * s**6, length)
    said = rate / (length - 1) * np.einsum("ntj,ntk,nk->nj", x[:, 1:], np.conj(x[:, :-1]), x[:, -1])
    goal = x[:, -1] * np.exp(1j * np.angle(x[:, 1] / x[:, 0]))
    assert abs(rate * 5 * s**2 - 1) < 0.01
    assert np.abs(said - goal * first**2 / (5 * s**2)).max() < 0.02 < 0.3 < np.abs(said - goal).max()


def test_turning_the_other_way_is_the_same_from_the_other_side():
    """(6) conjugate sequences have conjugate answers, of the rule and of the layer."""
    x = law(7, 5)[9:13]
    assert np.abs(one_step(np.conj(x), 0.3) - np.conj(one_step(x, 0.3))).max() < 1e-12
    made = layer(2)
    assert (said_by(made, np.conj(x)) - said_by(made, x).conj()).abs().max() < 1e-12


def test_a_complex_layer_is_what_its_matrices_say():
    """(2) of any complex matrices: P sum x x* M x over the tokens but one, with the conjugate; without it, another."""
    draw = np.random.default_rng(3)
    kq, pv, x = (draw.normal(size=s) + 1j * draw.normal(size=s) for s in ((3, 3), (3, 3), (2, 5, 3)))
    made = mixer(6, less=1)
    made.load_state_dict(as_complex(made, torch.from_numpy(kq), torch.from_numpy(pv)))
    memory = np.cumsum(x[..., :, None] * np.conj(x)[..., None, :], 1) / np.maximum(np.arange(5), 1)[:, None, None]
    told = np.einsum("ij,ntjk,kl,ntl->nti", pv, memory, kq, x)
    y = made(halves(x))[0].detach()
    assert np.abs(torch.complex(y[..., :3], y[..., 3:]).numpy() - told).max() < 1e-12
    with pytest.raises(UsageError, match="2 heads and matrices of 3"):
        as_complex(made, torch.from_numpy(kq[:2, :2]), torch.from_numpy(pv))


def test_the_task_is_the_setting():
    """(7) a number's mean square is 1 with either start; the rules are as good as the closed form says."""
    for start in ("normal", "one"):
        task = make_task(f"unitary_dynamics:dim=3,length=9,start={start}")
        shown = task.sample(0, 2000)
        assert abs(np.square(shown.targets[:, 1:]).mean() - 0.5) < 0.04 and np.isnan(shown.targets[:, 0]).all()
        assert np.abs(shown.tokens[:, 1:, 6:] - shown.tokens[:, :-1, :6]).max() == 0
        found = {name: score(task, predictor, shown) for name, predictor in task.predictors().items()}
        assert found["oracle"] < 1e-10 and abs(found["zero"] - 1) < 0.08 and found["the same again"] > 1.5
        said = {"values": task.solve(shown.tokens)}
        off = task.figures(task.priced(said, shown).sum(0), float(task.questions(shown.targets).sum()))["from one step"]
        assert off < 1e-10 if start == "one" else abs(off / found["one step"] - 1) < 1e-6 and 0.3 < off < 0.9
