"""Softmax attention: the fused implementation against the dense formula."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from kernel_cases import error

from blockyard.kernels import attend
from blockyard.kernels.softmax import chunked
from blockyard.kernels.softmax.mask import pairs_below


def case(T, S, heads=4, groups=2, D=8, V=8, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(2, n, h, d, dtype=dtype) for n, h, d in ((T, heads, D), (S, groups, D), (S, groups, V))]


def run(implementation, args, **how):
    leaves = [t.clone().requires_grad_() for t in args]
    y = implementation(*leaves, **how)
    torch.manual_seed(1)
    loss = (y * torch.randn(y.shape, dtype=torch.float64).to(y.dtype)).sum()
    return y, *torch.autograd.grad(loss, leaves)


def masks(T, S):
    see = torch.rand(2, 1, T, S) < 0.6
    bias = torch.randn(1, 4, T, S, dtype=torch.float64)
    return None, see, torch.rand(1, 4, T, S) < 0.6, bias, bias.masked_fill(~see, float("-inf"))


@pytest.mark.parametrize("shape", [(7, 7), (1, 9), (4, 9), (33, 33)])
@pytest.mark.parametrize(("groups", "width"), [(4, 8), (2, 5), (1, 12)])
def test_implementations(shape, groups, width):
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
    for implementation in (attend.chunked, attend.reference):
        y, *grads = run(implementation, args, mask=see)
        assert not y[:, 3].any() and y[:, 2].any()
        assert all(torch.isfinite(g).all() for g in grads)


def test_bfloat16():
    args = case(33, 33)
    y = attend(*(t.bfloat16() for t in args))
    assert y.dtype == torch.bfloat16 and error(y, attend(*args)) < 2e-2


def fused_by_the_framework(q, k, v, *, mask=None):
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    how = {"is_causal": True} if mask is None else {"attn_mask": mask}
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **how).transpose(1, 2)


@pytest.mark.parametrize("sharp", [1, 6])
@pytest.mark.parametrize("T", [5, 31, 32, 100, 512])
def test_bfloat16_is_as_near_as_the_frameworks_own_kernel(T, sharp):
    """Values and gradients against float64; sharp scores are large, and rounding them would be felt."""
    args = case(T, T, D=32, V=32)
    args[0] *= sharp
    short = [t.bfloat16() for t in args]
    exact = run(attend.reference, [t.double() for t in short])
    ours, theirs = run(attend, short), run(fused_by_the_framework, short)
    with torch.no_grad():
        pairs = [(attend(*short), fused_by_the_framework(*short), exact[0]), *zip(ours, theirs, exact)]
    for mine, other, right in pairs:
        assert mine.dtype == torch.bfloat16
        assert (mine - right).square().mean() <= 1.05 * (other - right).square().mean()
        assert (mine - right).abs().max() <= 1.5 * (other - right).abs().max()


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_autocast_rounds_no_more(kept):
    """What rotary tables leave in single precision among half values."""
    args = case(64, 64, D=32, V=32)
    args = [6 * args[0].to(kept), args[1].to(kept), args[2].bfloat16()]
    right = attend.reference(*(t.double() for t in args))
    with torch.autocast("cpu", torch.bfloat16):
        mine, other = attend(*args), fused_by_the_framework(*args)
    assert mine.dtype == torch.bfloat16
    assert (mine - right).square().mean() <= 1.05 * (other - right).square().mean()


@pytest.mark.parametrize("T", [1, 8, 64])
def test_a_bias_is_not_rounded(T):
    """A bias by distance grows large where keys are far, and differs little between them."""
    q, k, v = (t.bfloat16() for t in case(T, 400))
    bias = -100 - 0.01 * torch.arange(400.0).expand(1, 4, T, 400)
    right = attend.reference(*(t.double() for t in (q, k, v)), causal=False, mask=bias.double())
    mine = attend(q, k, v, causal=False, mask=bias)
    assert error(mine, right) < 1e-2


WINDOWS = [(1, 0), (3, 0), (3, 2), (8, 1), (20, 0), (26, 3), (1000, 2)]


@pytest.mark.parametrize("window,sinks", WINDOWS)
@pytest.mark.parametrize("shape", [(7, 7), (1, 9), (4, 9), (9, 4), (40, 40), (30, 61), (50, 30)])
def test_a_window_is_a_mask(shape, window, sinks, monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 8)
    T, S = shape
    args = case(T, S, V=5)
    at, places = torch.arange(S - T, S)[:, None], torch.arange(S)
    see = (places <= at) & ((at - places < window) | (places < sinks))
    wanted = run(attend.reference, args, causal=False, mask=see[None, None])
    masks = (None, torch.rand(2, 1, T, S) < 0.6, torch.randn(1, 4, T, S, dtype=torch.float64))
    for implementation in (attend.reference, attend.chunked):
        for a, b in zip(run(implementation, args, window=window, sinks=sinks), wanted):
            assert error(a, b) < 1e-10
    for mask in masks[1:]:
        both = [
            run(implementation, args, window=window, sinks=sinks, mask=mask)
            for implementation in (attend.chunked, attend.reference)
        ]
        for a, b in zip(*both):
            assert error(a, b) < 1e-10
    short = [t.bfloat16() for t in args]
    right = attend.reference(*(t.double() for t in short), window=window, sinks=sinks)
    assert error(attend(*short, window=window, sinks=sinks), right) < 2e-2
    assert attend.flops(*args, window=window, sinks=sinks) == 2 * 4 * int(see.sum()) * (2 * 8 + 2 * 5 + 5)


def test_a_window_of_what_is_not_causal_is_refused():
    for implementation in (attend.reference, attend.chunked):
        with pytest.raises(ValueError, match="needs causal=True"):
            implementation(*case(5, 5), causal=False, window=3)


def test_blocks_of_a_window_read_no_more_than_they_need(monkeypatch):
    read, whole = [], chunked._fused
    monkeypatch.setattr(
        chunked, "_fused", lambda q, k, *more: read.append(q.shape[1] * k.shape[1]) or whole(q, k, *more)
    )
    args = case(2048, 2048)
    attend(*args, window=256, sinks=4)
    assert sum(read) < 1.6 * pairs_below(2048, 256, 4) < 0.5 * pairs_below(2048, None, 0)
