"""Attention over whole rows by compiled loops: held to the dense formula, row by row, on any threads, beside a nan.

Few lengths do: a vector holds 16 queries (8 of them in double precision) and a block of backward four vectors, a tile
of keys 16 or 48. So 150 queries are more than two blocks and end inside of a vector.
"""

import itertools

import pytest
import torch
from kernel_cases import error
from torch.utils.checkpoint import checkpoint

from blockyard.kernels import attend, exact, force
from blockyard.kernels.dispatch import _of
from blockyard.kernels.softmax import op
from blockyard.kernels.softmax.mask import folded
from blockyard.kernels.toolkit import parallel

pytest.importorskip("numba")
SINGLE, HALF, DOUBLE = torch.float32, torch.bfloat16, torch.float64


def case(T=150, S=None, *, rows=2, heads=4, groups=2, D=16, V=16, dtype=SINGLE):
    torch.manual_seed(0)
    sizes = ((T, heads, D), (S or T, groups, D), (S or T, groups, V))
    return [torch.randn(rows, *size, dtype=DOUBLE).to(dtype) for size in sizes]


def tiled(*args, **how):
    return _of(op.__name__, "training", "attend_tiled")(*args, **how)


def run(implementation, args, **how):
    """The result and the gradients of a random functional of it."""
    leaves = [t.clone().requires_grad_() for t in args]
    y = implementation(*leaves, **how)
    torch.manual_seed(1)
    weights = torch.randn(y.shape, dtype=DOUBLE).to(y.dtype)
    return y.detach(), *torch.autograd.grad(y, leaves, weights)


def agree(args, most, **how):
    exactly = run(attend.reference, [t.double() for t in args], **how)
    for ours, right, like in zip(run(tiled, args, **how), exactly, (args[2], *args)):
        assert ours.dtype == like.dtype and error(ours, right) < most, how


def documents(T, *starts):
    """(1,T,2): each query sees the document it is in."""
    borders = [0, *starts, T]
    return torch.tensor([[a, b] for a, b in itertools.pairwise(borders) for _ in range(b - a)])[None]


def scattered(T, S, rows=2):
    """Any spans: some see nothing, some one key."""
    torch.manual_seed(2)
    since = torch.randint(0, S, (rows, T))
    return torch.stack([since, since + torch.randint(-3, S // 2, (rows, T))], -1)


SPANS = {
    "all": lambda T, S: None,
    "documents": lambda T, S: documents(T, 1, 3, 64, 100),
    "anything": scattered,
}


@pytest.mark.parametrize("dtype,most", [(SINGLE, 2e-6), (DOUBLE, 1e-13), (HALF, 1.5e-2)])
@pytest.mark.parametrize("spans", SPANS)
def test_it_is_the_dense_formula(dtype, most, spans):
    args = case(dtype=dtype)
    for how in ({}, {"causal": False}, {"window": 1}, {"window": 40, "scale": 0.5}, {"window": 1000}):
        agree(args, most, spans=SPANS[spans](150, 150), **how)


@pytest.mark.parametrize("shape", [(16, 16), (17, 150), (64, 65), (150, 40), (40, 150), (49, 48)])
def test_other_keys_than_queries(shape):
    args = case(*shape, dtype=DOUBLE)
    for how in ({}, {"causal": False}, {"window": 20}):
        for spans in (None, scattered(*shape), scattered(*shape, rows=1)):
            agree(args, 1e-13, spans=spans, **how)


@pytest.mark.parametrize("widths", [(16, 48), (32, 16), (5, 20), (24, 24), (1, 1), (64, 80)])
def test_any_widths(widths):
    D, V = widths
    for dtype, most in ((SINGLE, 3e-6), (DOUBLE, 1e-13)):
        agree(case(70, D=D, V=V, dtype=dtype), most)


@pytest.mark.parametrize("heads,groups", [(1, 1), (6, 1), (6, 3), (3, 3)])
def test_heads_that_share_keys(heads, groups):
    agree(case(70, heads=heads, groups=groups), 3e-6)


def test_large_scores_cost_no_precision():
    """The largest score of a query is taken off, the largest of those that it sees."""
    q, k, v = case(dtype=DOUBLE)
    agree([30 * q, k, v], 1e-12)
    late = k.clone()
    late[:, 100:] *= 1e4
    y = tiled(q.float(), late.float(), v.float())
    assert torch.equal(y[:, :96], tiled(q.float(), k.float(), v.float())[:, :96])
    assert error(y, attend.reference(q, late, v)) < 1e-3


def test_half_values_are_summed_in_single_precision():
    args = case(1000, rows=1, heads=1, groups=1, dtype=HALF)
    right = attend.reference(*(t.double() for t in args))
    assert (tiled(*args) - right).square().mean() < 1.05 * (right.to(HALF) - right).square().mean()


def test_several_precisions_are_made_one():
    q, k, v = case(70)
    mixed = (q, k, v.to(HALF))
    y, *grads = run(tiled, mixed)
    right = run(attend.reference, [t.double() for t in mixed])
    assert y.dtype == grads[2].dtype == HALF and grads[0].dtype == grads[1].dtype == SINGLE
    assert error(y, right[0]) < 1e-2 and error(grads[0], right[1]) < 1e-2


def test_who_sees_nothing_gives_zero_and_takes_none():
    args = case(100, dtype=DOUBLE)
    spans = documents(100).repeat(2, 1, 1)
    spans[0, 10] = spans[1, 32:64] = 7
    y, *grads = run(tiled, args, spans=spans, causal=False)
    assert not y[0, 10].any() and not y[1, 32:64].any() and y[0, 11].all()
    assert not grads[0][0, 10].any() and all(g.isfinite().all() for g in grads)
    y, *grads = run(tiled, case(100, 30, dtype=DOUBLE))
    assert not y[:, :70].any() and y[:, 70].all() and all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [1, 2])
def test_what_is_not_a_number_reaches_no_block_before_its_own(spoilt, which):
    args = case()
    clean = tiled(*args)
    args[which][:, 130] = spoilt
    y = tiled(*args)
    assert torch.equal(y[:, :128], clean[:, :128]) and not y[:, 130:].isfinite().any()
    assert tiled(*args, spans=documents(150, 112))[:, :112].isfinite().all()
    late = case()
    late[0][:, 140] = spoilt  # a query: other queries are as before
    y, dq, *_ = run(tiled, late)
    fine = run(tiled, case())
    rest = torch.arange(150) != 140
    assert torch.equal(y[:, rest], fine[0][:, rest]) and torch.equal(dq[:, rest], fine[1][:, rest])


@pytest.mark.parametrize("how", [{}, {"window": 40}, {"spans": documents(150, 3, 64, 100)}], ids=str)
def test_the_past_does_not_see_the_future(how):
    """Bit by bit: a later key changes nothing, a row that ends earlier is the beginning of one that does not."""
    args = case()
    y = tiled(*args, **how)
    changed = [torch.cat([t[:, :75], t[:, 75:] * 3], 1) for t in args]
    assert torch.equal(tiled(*changed, **how)[:, :75], y[:, :75])
    for end in (20, 64, 75):
        cut = {name: x[:, :end] if name == "spans" else x for name, x in how.items()}
        assert torch.equal(tiled(*(t[:, :end] for t in args), **cut), y[:, :end])


def test_a_document_alone_is_the_document_among_others():
    args = case(dtype=DOUBLE)
    y = tiled(*args, spans=documents(150, 32, 100))
    for a, b in ((0, 32), (32, 100), (100, 150)):
        assert error(tiled(*(t[:, a:b] for t in args)), y[:, a:b]) < 1e-14


@pytest.mark.parametrize("dtype", [SINGLE, HALF])
def test_rows_and_threads_change_nothing(dtype, monkeypatch):
    monkeypatch.setattr(parallel, "LITTLE", 0)
    args = case(rows=3, dtype=dtype)
    try:
        torch.set_num_threads(1)
        one = run(tiled, args)
        torch.set_num_threads(3)
        many = run(tiled, args)
    finally:
        torch.set_num_threads(1)
    for a, b in zip(one, many):
        assert torch.equal(a, b)
    weights = torch.randn(one[0].shape, dtype=SINGLE).to(dtype)
    whole, row = (
        torch.autograd.grad(tiled(*leaves), leaves, weights[some])
        for some in (slice(None), slice(1, 2))
        for leaves in [[t[some].clone().requires_grad_() for t in args]]
    )
    for a, b in zip(whole, row):
        assert torch.equal(a[1:2], b)


def test_views_are_read_where_they_lie():
    args = case(70, heads=2)
    expected = run(tiled, args)
    together = torch.cat(args, -1)
    views = (
        lambda i, t: together[..., 16 * i : 16 * i + 16],
        lambda i, t: t.transpose(1, 2).contiguous().transpose(1, 2),
        lambda i, t: torch.stack([t, t], -1)[..., 0],
    )
    for view in views:
        assert torch.equal(tiled(*(view(i, t) for i, t in enumerate(args))), expected[0])
        leaves = [view(i, t).detach().requires_grad_() for i, t in enumerate(args)]
        torch.manual_seed(1)
        dy = torch.randn(expected[0].shape, dtype=DOUBLE).float().transpose(0, 1).contiguous().transpose(0, 1)
        for a, b in zip(torch.autograd.grad(tiled(*leaves), leaves, dy), expected[1:]):
            assert torch.equal(a, b)


def test_made_again_in_backward_it_is_the_same():
    args = case()
    again = lambda *leaves: checkpoint(tiled, *leaves, use_reentrant=False)  # noqa: E731
    for a, b in zip(run(again, args), run(tiled, args)):
        assert torch.equal(a, b)


@pytest.mark.parametrize("how", [{}, {"window": 5}, {"spans": documents(18, 7), "causal": False}], ids=str)
def test_gradients_by_differences(how):
    leaves = [t.requires_grad_() for t in case(18, rows=1, heads=2, groups=1, D=2, V=3, dtype=DOUBLE)]
    assert torch.autograd.gradcheck(lambda *a: tiled(*a, **how), leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *a: tiled(*a, **how), leaves, fast_mode=True)


def test_a_derivative_of_some_of_the_gradients():
    q, k, v = case(18, dtype=DOUBLE)
    k.requires_grad_()
    (dk,) = torch.autograd.grad(tiled(q, k, v).square().sum(), k, create_graph=True)
    (ours,) = torch.autograd.grad(dk.square().sum(), k)
    with exact():
        (dk,) = torch.autograd.grad(attend(q, k, v).square().sum(), k, create_graph=True)
        assert error(ours, torch.autograd.grad(dk.square().sum(), k)[0]) < 1e-10


def test_what_does_not_belong_together_is_refused():
    q, k, v = case(20)
    for args, how in (
        ((q, k[:, :19], v), {}), ((q, k[..., :15], v), {}), ((q[:, :, :3], k, v), {}),
        ((q, k, v), {"causal": False, "window": 3}), ((q, k, v), {"sinks": 1}),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            tiled(*args, **how)


def test_who_is_served(monkeypatch):
    """Whole rows without a mask; everything else is the framework's kernel, which reads spans as a mask."""
    monkeypatch.setattr(attend, "chunked", lambda *args, **how: None)
    for name, implementation in (("cpu", "tiled"), ("chunked", "chunked"), ("reference", "reference")):
        with force(name):
            assert (attend(*case(op.FEWEST)) is None) == (implementation == "chunked")
    short, long = case(op.FEWEST - 1), case(op.FEWEST)
    mask = torch.ones(1, 1, op.FEWEST, op.FEWEST, dtype=torch.bool)
    assert op._serves(*long) and op._serves(*long, spans=documents(op.FEWEST)) and op._serves(*long, window=3)
    assert not op._serves(*short) and not op._serves(long[0], *short[1:]) and not op._serves(short[0], *long[1:])
    assert not op._serves(*(t.double() for t in long))
    assert not op._serves(*long, mask=mask) and not op._serves(*long, window=3, sinks=1)
    assert not op._serves(*long, causal=False, window=3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert op._serves(*long) and not op._serves(*case(op.FEWEST, rows=1))


@pytest.mark.parametrize("T", [5, 40])
def test_spans_are_a_mask(T):
    """By every implementation, alone and beside a mask and a window."""
    args, spans = case(T, dtype=DOUBLE), scattered(T, T)
    places = torch.arange(T)
    see = ((spans[..., :1] <= places) & (places < spans[..., 1:]))[:, None]
    other = torch.rand(2, 1, T, T) < 0.6
    for how in ({"causal": False}, {}, {"window": 3}, {"window": 7, "sinks": 2}):
        for mask in (None, other, torch.randn(1, 4, T, T, dtype=DOUBLE)):
            both = see if mask is None else folded(see, mask)
            right = run(attend.reference, args, mask=both, **how)
            for implementation in (attend, attend.chunked, attend.reference):
                for a, b in zip(run(implementation, args, mask=mask, spans=spans, **how), right):
                    assert error(a, b) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("dtype,most", [(SINGLE, 5e-6), (DOUBLE, 1e-12), (HALF, 2e-2)])
@pytest.mark.parametrize("T", [31, 128, 700])
def test_long_rows(T, dtype, most):
    args = case(T, D=64, V=64, dtype=dtype)
    for how in ({}, {"causal": False}, {"window": 100}, {"spans": documents(T, 5, 20, 30)}):
        agree(args, most, **how)
