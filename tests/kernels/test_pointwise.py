"""The norm and the turn agree with their plain forms, gradients included, in every precision."""

import pytest
import torch

from blockyard.kernels import exact, gated, rms_norm, rotate, swiglu
from blockyard.kernels.pointwise import op as pointwise


@pytest.fixture(autouse=True)
def loops_of_our_own_at_any_size(monkeypatch):
    monkeypatch.setattr(pointwise, "FEW", 0)


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def inputs(dtype):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 3, 8, generator=draw).to(dtype)
    gain = (1 + 0.3 * torch.randn(8, generator=draw)).to(dtype)
    angle = torch.randn(1, 5, 1, 4, generator=draw, dtype=torch.float64)
    return x, gain, angle.cos().to(dtype), angle.sin().to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op", [rms_norm, rotate])
def test_implementations_agree(op, dtype):
    x, gain, cos, sin = inputs(dtype)
    found = []
    for implementation in (op, op.chunked, op.reference):
        leaves = [t.clone().requires_grad_() for t in ((x, gain) if op is rms_norm else (x,))]
        y = implementation(*leaves, 1e-5) if op is rms_norm else implementation(*leaves, cos, sin)
        y.backward(torch.linspace(-1, 1, y.numel()).view_as(y).to(dtype))
        found.append([y.detach(), *[leaf.grad for leaf in leaves]])
    *fast, plain = found
    for mine in fast:
        for a, b in zip(mine, plain):
            assert a.dtype == dtype and (a - b).abs().max() <= TOLERANCE[dtype] * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("shape", [(16,), (70, 32), (3, 50, 16), (2, 50, 3, 16)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_norm_takes_any_shape_and_stride(shape, each, dtype):
    gain = torch.randn(shape[-2:] if each and len(shape) == 4 else shape[-1], dtype=dtype, requires_grad=True)
    wide = torch.randn(*shape[:-1], shape[-1] + 4, dtype=dtype, requires_grad=True)
    found = []
    for implementation in (rms_norm, rms_norm.chunked, rms_norm.reference):
        y = implementation(wide[..., 2:-2], gain, 1e-5)
        weights = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)
        found.append((y, *torch.autograd.grad((y * weights).sum(), (wide, gain))))
    for mine in found[:2]:
        for a, b in zip(mine, found[2]):
            assert (a - b).abs().max() < TOLERANCE[dtype] * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("shape", [(32,), (70, 16), (3, 50, 16), (2, 50, 3, 16), (2, 5, 7)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_gate_is_a_product_with_silu(shape, dtype):
    x = torch.randn(shape).to(dtype).requires_grad_()
    g = (20 * torch.randn(*shape[:-1], 2 * shape[-1])).to(dtype).requires_grad_()
    found = []
    for implementation in (gated, gated.reference):
        y = implementation(x, g[..., : shape[-1]])
        found.append((y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), (x, g))))
    for a, b in zip(*found):
        assert (a - b).abs().max() < TOLERANCE[dtype] * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("shape", [(2 * 16,), (70, 2 * 17), (3, 50, 2 * 40), (2, 5, 2 * 7), (129, 2 * 153)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_halves_gate_each_other_at_any_width(shape, dtype):
    h, found = (5 * torch.randn(shape)).to(dtype).requires_grad_(), []
    for implementation in (swiglu, swiglu.reference):
        y = implementation(h)
        found.append((y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), h)))
    g, x = h.detach().double().chunk(2, -1)
    assert (found[0][0] - x * g * torch.sigmoid(g)).abs().max() < TOLERANCE[dtype] * (x * g).abs().max()
    for a, b in zip(*found):
        assert a.dtype == dtype and (a - b).abs().max() < TOLERANCE[dtype] * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("width", [32, 64, 24])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_turn_takes_views_and_tables_of_one_row_or_all(dtype, width, rows):
    wide = torch.randn(2, 70, 3, 2 * width).to(dtype).requires_grad_()
    angle = torch.randn(rows, 70, 1, width // 2, dtype=torch.float64)
    cos, sin, found = angle.cos().to(dtype), angle.sin().to(dtype), []
    for implementation in (rotate, rotate.chunked, rotate.reference):
        y = implementation(wide[..., width:], cos, sin)
        found.append((y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), wide)))
    with torch.no_grad():
        found.append((rotate(wide[..., width:], cos, sin), found[0][1]))
    for mine in (*found[:2], found[3]):
        for a, b in zip(mine, found[2]):
            assert a.dtype == dtype and (a - b).abs().max() < TOLERANCE[dtype] * b.abs().max().clamp(min=1)


def test_gradients_are_right_and_a_turn_differentiates_twice():
    x, gain, cos, sin = (t.requires_grad_() for t in inputs(torch.float64))
    cos, sin = cos.detach(), sin.detach()
    assert torch.autograd.gradcheck(lambda x, g: rms_norm(x, g, 1e-5), (x, gain), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: rotate(x, cos, sin), (x,), fast_mode=True)
    rows, angle = torch.randn(1, 3, 2, 32, dtype=torch.float64, requires_grad=True), torch.randn(1, 3, 1, 16).double()
    assert torch.autograd.gradgradcheck(lambda x: rotate(x, angle.cos(), angle.sin()), (rows,), fast_mode=True)
    with exact():
        assert torch.autograd.gradgradcheck(lambda x, g: rms_norm(x, g, 1e-5), (x, gain), fast_mode=True)


@pytest.mark.parametrize("length", [5, 700])
def test_angles_may_learn(length):
    """Every implementation has their gradient, of few numbers and of many."""
    x = torch.randn(2, length, 3, 32, dtype=torch.float64)
    for implementation in (rotate, rotate.chunked):
        speed = torch.linspace(0.1, 1, 16).double().requires_grad_()
        found = []
        for one in (implementation, rotate.reference):
            angle = torch.arange(length)[None, :, None, None] * speed
            y = one(x, angle.cos(), angle.sin())
            found += torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), speed)
        assert found[1].abs().min() > 0 and (found[0] - found[1]).abs().max() < 1e-9 * found[1].abs().max()


def test_a_turn_keeps_lengths_and_turns_back():
    x, _, cos, sin = inputs(torch.float64)
    y = rotate(x, cos, sin)
    assert (y.norm(dim=-1) - x.norm(dim=-1)).abs().max() < 1e-12
    assert (rotate(y, cos, -sin) - x).abs().max() < 1e-12


def test_what_learns_has_a_gradient_of_its_own_and_what_does_not_is_the_plain_form():
    x, gain, cos, sin = inputs(torch.float32)
    for op, given in ((rms_norm, (x, gain, 1e-5)), (rotate, (x, cos, sin))):
        assert op.chunked(x.clone().requires_grad_(), *given[1:]).grad_fn.name().startswith("_R")
        with torch.no_grad():
            assert torch.equal(op.chunked(*given), op.reference(*given))
