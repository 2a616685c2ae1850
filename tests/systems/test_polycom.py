"""What must hold of learned polynomials as activations."""

import pytest
import torch
from system_cases import F64, gap, normal

import blockyard as by
from blockyard.model.count import count_params
from blockyard.optimiser.adamw import adamw
from blockyard.transform.take import take

NAMES = ("activation:poly_relu", "activation:poly_norm")


def made(name, values=None, **settings):
    """The activation on 12 channels in double precision, with these coefficients."""
    part = by.make(name, dim=12, **settings).double()
    if values is not None:
        next(part.parameters()).data = torch.tensor(values, dtype=F64)
    return part


@torch.no_grad()
@pytest.mark.parametrize("values, same", [((0.0, 1.0, 0.0, 0.0), "relu"), ((0.0, 0.0, 1.0, 0.0), "squared_relu")])
def test_with_one_coefficient_it_is_the_plain_activation(values, same):
    """(1) a = (0,1,0,0) is ReLU, a = (0,0,1,0) is squared ReLU, exactly."""
    x = normal(3, 5, 12)
    assert torch.equal(made("activation:poly_relu", values)(x), by.make(f"activation:{same}", dim=12)(x))


@torch.no_grad()
def test_a_polynomial_of_what_is_above_zero():
    """(1) the four terms written out; at first no constant, and a third of each power."""
    x, part = normal(2, 12), made("activation:poly_relu", (0.3, -2.0, 0.5, 1.5))
    r = x.clamp(min=0)
    assert gap(part(x), 0.3 - 2 * r + 0.5 * r**2 + 1.5 * r**3) < 1e-12
    assert gap(made("activation:poly_relu")(x), (r + r**2 + r**3) / 3) < 1e-6
    assert made("activation:poly_relu", order=2).coefficients.tolist() == [0, 0.5, 0.5]


@torch.no_grad()
def test_only_the_direction_of_a_token_counts():
    """(2) PolyNorm(c x) = PolyNorm(x) for c > 0; for c < 0 the even term alone keeps its sign."""
    x, part = normal(3, 12), made("activation:poly_norm", (0.7, -0.4, 1.1), eps=1e-12)
    assert all(gap(part(c * x), part(x)) < 1e-9 for c in (0.3, 7.0, 40.0))
    even, odd = ((part(x) + sign * part(-x)) / 2 for sign in (1, -1))
    alone = [made("activation:poly_norm", w, eps=1e-12)(x) for w in ((0, -0.4, 0), (0.7, 0, 1.1))]
    assert gap(even, alone[0]) < 1e-12 and gap(odd, alone[1]) < 1e-12 and even.abs().min() > 0


@torch.no_grad()
def test_the_root_mean_square_is_bounded_by_the_coefficients():
    """(3) rms(y) <= |w_1| + |w_2| + |w_3| + |b|, and reached where all powers are one vector."""
    part = made("activation:poly_norm", (0.7, -0.4, 1.1))
    part.bias.fill_(-0.25)
    for scale in (0.1, 1.0, 30.0):
        assert (part(scale * normal(50, 12)).square().mean(-1).sqrt() <= 0.7 + 0.4 + 1.1 + 0.25 + 1e-12).all()
    tight = made("activation:poly_norm", (0.7, 0.4, 1.1), eps=0.0)
    tight.bias.fill_(0.25)
    assert gap(tight(torch.full((12,), 3.0, dtype=F64)), torch.full((12,), 2.45, dtype=F64)) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name):
    """(4) gradcheck in double precision, by the input and by every coefficient."""
    part = made(name)
    x = normal(2, 12).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: part(x), (x, *part.parameters()))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_wide_inside(name, dtype):
    """(4) finite for |x| <= 100 and near what double precision says; a cube of 100 alone is more than float16 holds."""
    x = torch.linspace(-100, 100, 12).to(dtype)
    if name == "activation:poly_relu" and dtype is torch.float16:
        x = x / 2  # the output itself must fit: (50^3 + 50^2 + 50) / 3
    part = made(name).to(dtype)
    wide = made(name, next(part.parameters()).tolist())
    y, want = part(x), wide(x.double())
    assert y.dtype is dtype and y.isfinite().all()
    assert ((y.double() - want).abs() <= torch.finfo(dtype).eps * want.abs() + 1e-6).all()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_token_is_treated_alone(name):
    """(5) no dependence on other tokens; PolyNorm reads the whole vector of its own."""
    part, x = made(name), normal(2, 5, 12)
    other = x.clone()
    other[:, 2, 3] += 1
    moved = (part(other) - part(x)).abs() > 0
    assert not moved[:, [0, 1, 3, 4]].any() and moved[:, 2].any()
    assert moved[:, 2].all() if name == "activation:poly_norm" else not moved[:, 2, 4:].any()


@torch.no_grad()
def test_it_is_the_published_class():
    """The released form: the cube first, each power over its root mean square, 1e-6 under the root."""
    x, w, b = normal(4, 12), torch.tensor([0.2, -0.5, 0.9], dtype=F64), 0.1

    def norm(v):
        return v / torch.sqrt(v.pow(2).mean(-1, keepdim=True) + 1e-6)

    part = made("activation:poly_norm", w.flip(0).tolist())
    part.bias.fill_(b)
    assert gap(part(x), w[0] * norm(x**3) + w[1] * norm(x**2) + w[2] * norm(x) + b) < 1e-12
    fresh = made("activation:poly_norm")
    assert gap(fresh.weight.detach(), torch.full((3,), 1 / 3, dtype=F64)) < 1e-7 and fresh.bias == 0


@pytest.mark.parametrize("name", ["poly_norm", "poly_relu"])
def test_coefficients_are_not_decayed(name):
    """A step of weight decay alone shrinks matrices and leaves every coefficient where it is."""
    net = by.build("polycom", "tiny", activation=name)
    held = dict(net.named_parameters())
    before = {path: p.detach().clone() for path, p in held.items()}
    for p in held.values():
        p.grad = torch.zeros_like(p)
    adamw(net, held, lr=0.1, decay=0.5).step()
    still = [path for path, p in held.items() if ".activation." in path and torch.equal(p, before[path])]
    assert len(still) == (4 if name == "poly_norm" else 2)
    assert not torch.equal(net.steps[1].part.up.weight, before["steps.1.part.up.weight"])


@pytest.mark.parametrize("name", ["poly_norm", "poly_relu"])
def test_no_power_is_taken_out_of_a_sum(name):
    net = by.build("polycom", "tiny", activation=name)
    with pytest.raises(by.UsageError, match="each place is a power of its own"):
        take(net, "steps.1.part.activation.powers", torch.arange(2))


def test_one_and_a_half_times_as_wide_it_has_the_parameters_of_swiglu():
    plain, gated = by.spec("polycom", "1b"), by.spec("llama", dim=2048, layers=24, heads=16, ffn=5504, vocab=32000)
    assert count_params(plain) - count_params(gated.override("head.tied", False)) == 24 * 4


@pytest.mark.slow
def test_a_few_units_fit_a_wave_better_than_with_relu():
    """sin(3x) on [-2,2] by 8 hidden units, the best of 5 restarts: a third of ReLU's error or less."""
    x = torch.linspace(-2, 2, 200)[:, None]
    best = {}
    for name in ("poly_relu", "relu"):
        errors = []
        for seed in range(5):
            torch.manual_seed(seed)
            act = by.make(f"activation:{name}", dim=8)
            net = torch.nn.ModuleList([torch.nn.Linear(1, 8), act, torch.nn.Linear(8, 1)])
            step = torch.optim.Adam(net.parameters(), lr=1e-2)
            for _ in range(1500):
                loss = (net[2](act(net[0](x))) - (3 * x).sin()).square().mean()
                step.zero_grad()
                loss.backward()
                step.step()
            errors.append(loss.item())
        best[name] = min(errors)
    assert best["poly_relu"] <= best["relu"] / 3, best
