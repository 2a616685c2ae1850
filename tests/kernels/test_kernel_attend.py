"""Softmax attention: the fused twin against the dense formula."""

import itertools

import pytest
import torch
from kernel_cases import error

from blockyard.kernels import attend, softmax


def case(T, S, heads=4, groups=2, D=8, V=8, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(2, n, h, d, dtype=dtype) for n, h, d in ((T, heads, D), (S, groups, D), (S, groups, V))]


def run(twin, args, **how):
    leaves = [t.clone().requires_grad_() for t in args]
    y = twin(*leaves, **how)
    torch.manual_seed(1)
    loss = (y * torch.randn(y.shape, dtype=torch.float64).to(y.dtype)).sum()
    return y, *torch.autograd.grad(loss, leaves)


def masks(T, S):
    see = torch.rand(2, 1, T, S) < 0.6
    bias = torch.randn(1, 4, T, S, dtype=torch.float64)
    return None, see, torch.rand(1, 4, T, S) < 0.6, bias, bias.masked_fill(~see, float("-inf"))


@pytest.mark.parametrize("shape", [(7, 7), (1, 9), (4, 9), (33, 33)])
@pytest.mark.parametrize(("groups", "width"), [(4, 8), (2, 5), (1, 12)])
def test_twins(shape, groups, width):
    args = case(*shape, groups=groups, V=width)
    for causal, mask in itertools.product((True, False), masks(*shape)):
        how = {"causal": causal, "mask": mask, "scale": 0.3 if causal else None}
        for a, b in zip(run(attend.chunked, args, **how), run(attend.reference, args, **how)):
            assert error(a, b) < 1e-10


def test_dense_formula_by_hand():
    q, k, v = case(6, 6, groups=4)
    scores = torch.einsum("bthd,bshd->bhts", q, k) / 8**0.5
    weights = scores.masked_fill(~torch.ones(6, 6).tril().bool(), float("-inf")).softmax(-1)
    assert error(attend(q, k, v), torch.einsum("bhts,bshd->bthd", weights, v)) < 1e-12


def test_queries_after_a_past_see_it():
    q, k, v = case(9, 9)
    assert error(attend(q[:, 5:], k, v), attend(q, k, v)[:, 5:]) < 1e-12


def test_a_query_that_sees_nothing_gives_zero():
    args = case(5, 5)
    see = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    see[:, :, 3] = False
    for twin in (attend.chunked, attend.reference):
        y, *grads = run(twin, args, mask=see)
        assert not y[:, 3].any() and y[:, 2].any()
        assert all(torch.isfinite(g).all() for g in grads)


def test_bfloat16():
    args = case(33, 33)
    y = attend(*(t.bfloat16() for t in args))
    assert y.dtype == torch.bfloat16 and error(y, attend(*args)) < 2e-2


@pytest.mark.parametrize("heads,groups", [(4, 4), (4, 2), (4, 1)])
def test_whole_matrices_agree_with_the_formula_and_its_gradients(heads, groups):
    """The bfloat16 training path, run in float64 so that it can be held tightly."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(2, 9, heads, 8), (2, 9, groups, 8), (2, 9, groups, 6)]
    found = []
    for twin in (lambda q, k, v: softmax._dense(q, k, v, None), attend.reference):
        draw.manual_seed(0)
        leaves = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
        y = twin(*leaves)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y))
        found.append([y.detach(), *[leaf.grad for leaf in leaves]])
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(*found))


def test_bfloat16_training_takes_it_and_stays_near():
    q, k, v = (torch.randn(2, 40, 2, 16).bfloat16().requires_grad_() for _ in range(3))
    assert softmax._dense_pays(q, k)
    rough, exact = attend(q, k, v), attend.reference(q.float(), k.float(), v.float())
    assert (rough.float() - exact).abs().max() < 3e-2
    with torch.no_grad():
        assert not softmax._dense_pays(q, k)


@pytest.mark.parametrize("shape", [(300, 300), (256, 700), (40, 41), (600, 600)])
@pytest.mark.parametrize(("groups", "width"), [(4, 8), (2, 12), (1, 8)])
def test_reading_in_blocks(shape, groups, width, monkeypatch):
    """Exact in double precision; in bfloat16, which takes it where no gradient is asked for, near."""
    args = case(*shape, groups=groups, V=width)
    assert error(softmax._in_blocks(*args, 0.3), attend.reference(*args, scale=0.3)) < 1e-12
    short, taken = [t.bfloat16() for t in args], []
    whole = softmax._in_blocks
    monkeypatch.setattr(softmax, "_in_blocks", lambda *given: taken.append(1) or whole(*given))
    with torch.no_grad():
        y = attend(*short)
    assert taken and y.dtype == torch.bfloat16
    assert error(y.double(), attend.reference(*args)) < 0.05
    attend(*short), attend(*args)
    assert len(taken) == 1
