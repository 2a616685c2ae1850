"""Surprise agrees with its plain form, its gradients and theirs too, and looks nothing up that is not there."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from blockyard.kernels import cross_entropy, exact
from blockyard.kernels.cross_entropy import op


@pytest.fixture(autouse=True)
def loops_of_our_own_at_any_size(monkeypatch):
    monkeypatch.setattr(op, "FEW", 0)


TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1e-2}


def drawn(rows, scores, dtype, size=3.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = (size * torch.randn(rows, scores, generator=draw, dtype=torch.float64)).to(dtype).requires_grad_()
    targets = torch.randint(scores, (rows,), generator=draw)
    targets[::3] = -1
    return x, targets


@pytest.mark.parametrize("scores", [16, 17, 31, 32, 100, 256])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_implementations_agree(dtype, scores):
    x, targets = drawn(37, scores, dtype)
    weights, found = torch.linspace(-1, 2, 37), []
    for implementation in (cross_entropy, cross_entropy.chunked, cross_entropy.reference):
        nats = implementation(x, targets)
        (grad,) = torch.autograd.grad((nats * weights).sum(), x)
        assert nats.dtype == (torch.float64 if dtype == torch.float64 else torch.float32) and grad.dtype == dtype
        assert (nats[::3] == 0).all() and (grad[::3] == 0).all(), "nothing is asked there"
        found.append((nats.detach().double(), grad.double()))
    for mine in found[:2]:
        for a, b in zip(mine, found[2]):
            assert (a - b).abs().max() <= TOLERANCE[dtype] * b.abs().max()


@pytest.mark.parametrize("shift", [-3e4, 3e4])
def test_scores_far_from_zero(shift):
    """Only differences count, and nothing overflows; one score far above the others is no surprise."""
    x, targets = drawn(20, 40, torch.float64)
    assert torch.allclose(cross_entropy(x + shift, targets), cross_entropy(x, targets), atol=1e-9)
    high = x.detach().clone().float()
    high[torch.arange(20), targets.clamp(min=0)] = 1e4
    assert cross_entropy(high, targets).abs().max() == 0
    low = high.neg().requires_grad_()
    nats = cross_entropy(low, targets)
    (grad,) = torch.autograd.grad(nats.sum(), low)
    assert grad.isfinite().all() and nats.isfinite().all() and nats[1] > 9e3


def test_what_is_no_number_is_seen():
    x, targets = drawn(8, 32, torch.float32)
    with torch.no_grad():
        x[1, 5] = float("nan")
    assert cross_entropy(x, targets)[1].isnan() and cross_entropy(x, targets)[2].isfinite()


def test_derivatives_and_their_derivatives():
    x, targets = drawn(5, 19, torch.float64)
    assert gradcheck(lambda x: cross_entropy(x, targets), x)
    assert gradgradcheck(lambda x: cross_entropy(x, targets), x)


def test_a_target_that_is_not_there_is_refused():
    x, targets = drawn(8, 32, torch.float32)
    targets[1] = 32
    with pytest.raises(ValueError, match="target 32 of 32"):
        cross_entropy(x, targets)


def test_anything_else_is_left_to_the_framework():
    """Rows that do not lie one behind the other, few scores, no rows; all the same figures."""
    x, targets = drawn(30, 64, torch.float32)
    assert torch.allclose(cross_entropy(x[:, ::2], targets % 32), cross_entropy.reference(x[:, ::2], targets % 32))
    assert torch.allclose(
        cross_entropy(x[:, :5].contiguous(), targets % 5), cross_entropy.reference(x[:, :5], targets % 5)
    )
    assert cross_entropy(x[:0], targets[:0]).shape == (0,)
    with exact():
        assert torch.equal(cross_entropy(x, targets), cross_entropy.reference(x, targets))
