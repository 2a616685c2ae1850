"""A product of matrices is the same by every library, gradients included, whatever lies where in memory."""

import pytest
import torch
from torch.nn import functional

from blockyard.kernels import force, linear
from blockyard.kernels.matrix.op import FEW

SHAPES = [((2, 70, 96), 40), ((70, 40), 200), ((1, 300, 33), 7), ((FEW // 16, 16), 16), ((3, 4), 5)]


def inputs(shape, writes, biased):
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(writes, shape[-1], requires_grad=True)
    return [x, weight, *([torch.randn(writes, requires_grad=True)] if biased else [])]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape,writes", SHAPES)
def test_values_and_gradients(shape, writes, biased):
    given = inputs(shape, writes, biased)
    exact = [t.detach().double().requires_grad_() for t in given]
    y, whole = linear(*given), functional.linear(*exact)
    push = torch.randn(y.shape)
    found, wanted = torch.autograd.grad(y, given, push), torch.autograd.grad(whole, exact, push.double())
    with torch.no_grad():
        assert torch.equal(linear(*given), y)
    for mine, theirs in zip((y, *found), (whole, *wanted)):
        assert mine.shape == theirs.shape and mine.dtype == torch.float32
        assert (mine - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_views_expanded_gradients_and_what_needs_none():
    x, weight = torch.randn(2, 128, 100, requires_grad=True), torch.randn(24, 64, requires_grad=True)
    piece = x[:, ::2, 20:84]
    grads = torch.autograd.grad(linear(piece, weight).sum(), (x, weight))
    wanted = torch.autograd.grad(functional.linear(piece, weight).sum(), (x, weight))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(grads, wanted))
    turned = torch.randn(64, 24).t().requires_grad_()
    assert torch.allclose(linear(piece, turned), functional.linear(piece, turned), rtol=1e-4, atol=1e-4)
    (alone,) = torch.autograd.grad(linear(piece.detach(), weight).sum(), weight)
    assert torch.allclose(alone, wanted[1], rtol=1e-4, atol=1e-4)


def test_a_gradient_can_be_differentiated():
    x, weight = torch.randn(200, 64, requires_grad=True), torch.randn(8, 64, requires_grad=True)

    def twice(product):
        (dx,) = torch.autograd.grad(product(x, weight).square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), (x, weight))

    for a, b in zip(twice(linear), twice(functional.linear)):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def test_other_precisions_are_the_frameworks():
    x, weight = torch.randn(300, 64), torch.randn(32, 64)
    assert torch.equal(linear(x.double(), weight.double()), functional.linear(x.double(), weight.double()))
    assert torch.equal(linear(x.bfloat16(), weight.bfloat16()), functional.linear(x.bfloat16(), weight.bfloat16()))
    with torch.autocast("cpu", torch.bfloat16):
        assert (
            torch.equal(linear(x, weight), functional.linear(x, weight)) and linear(x, weight).dtype == torch.bfloat16
        )
    with force("reference"):
        assert torch.equal(linear(x, weight), functional.linear(x, weight))


def test_rows_do_not_meet():
    """A row's numbers depend on no other row, or a change to a later token would reach an earlier one."""
    x, weight = torch.randn(2, 200, 64), torch.randn(48, 64)
    other = x.clone()
    other[:, 150:] = float("nan")
    assert torch.equal(linear(x, weight)[:, :150], linear(other, weight)[:, :150])
