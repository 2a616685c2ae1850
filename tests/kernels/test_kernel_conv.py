"""The causal convolution: implementations, padding anywhere, segments, pieces."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from kernel_cases import error

from blockyard.kernels import causal_conv

F64 = torch.float64


def case(T, W=4, C=6, seed=0):
    torch.manual_seed(seed)
    return torch.randn(2, T, C, dtype=F64), torch.randn(C, W, dtype=F64), torch.randn(C, dtype=F64)


def run(implementation, tensors, how):
    leaves = {n: t.clone().requires_grad_() for n, t in tensors.items()}
    y, tail = implementation(**leaves, **how)
    torch.manual_seed(1)
    loss = (y * torch.randn(y.shape, dtype=F64)).sum() + (tail * torch.randn(tail.shape, dtype=F64)).sum()
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return y, tail, *grads


@pytest.mark.parametrize("T", [1, 2, 5, 150])
@pytest.mark.parametrize("W", [1, 2, 4])
@pytest.mark.parametrize("silu", [False, True])
def test_implementations(silu, T, W):
    x, weight, bias = case(T, W)
    tail = torch.randn(2, W - 1, 6, dtype=F64)
    valid, reset = torch.rand(2, T) < 0.6, torch.rand(2, T) < 0.2
    for past, offset, k, r in itertools.product((None, tail), (None, bias), (None, valid), (None, reset)):
        tensors = {"x": x, "weight": weight, "bias": offset, "tail": past}
        tensors = {n: t for n, t in tensors.items() if t is not None}
        slow = run(causal_conv.reference, tensors, {"valid": k, "reset": r, "silu": silu})
        for implementation in (causal_conv.chunked, causal_conv.cpu):
            for a, b in zip(run(implementation, tensors, {"valid": k, "reset": r, "silu": silu}), slow):
                assert error(a, b) < 1e-10


def test_agrees_with_the_framework():
    x, weight, bias = case(30)
    theirs = F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), weight[:, None], bias, groups=6).transpose(1, 2)
    assert error(causal_conv(x, weight, bias)[0], theirs) < 1e-12


def test_padding_anywhere_changes_nothing():
    x, weight, bias = case(20)
    tail = torch.randn(2, 3, 6, dtype=F64)
    y, after = causal_conv(x, weight, bias, tail=tail)
    for left, middle, right in ((5, 0, 0), (0, 0, 5), (0, 7, 0), (2, 3, 4)):
        valid = torch.ones(2, 20 + left + middle + right, dtype=torch.bool)
        valid[:, :left], valid[:, left + 11 : left + 11 + middle] = False, False
        valid[:, valid.shape[1] - right :] = False
        padded = torch.full((2, valid.shape[1], 6), 99.0, dtype=F64)
        padded[valid] = x.flatten(0, 1)
        for implementation in (causal_conv.cpu, causal_conv.chunked, causal_conv.reference):
            out, state = implementation(padded, weight, bias, tail=tail, valid=valid)
            assert error(out[valid], y.flatten(0, 1)) < 1e-12 and error(state, after) < 1e-12
            assert not out[~valid].any()


def test_rows_may_be_ragged():
    x, weight, bias = case(20)
    valid = torch.ones(2, 20, dtype=torch.bool)
    valid[1, 8:] = False
    _, tail = causal_conv(x, weight, bias, valid=valid)
    assert torch.equal(tail[0], x[0, -3:]) and torch.equal(tail[1], x[1, 5:8])


@pytest.mark.parametrize("keyed", [False, True])
def test_cut_anywhere_equals_whole(keyed):
    x, weight, bias = case(40)
    valid, reset = (torch.rand(2, 40) < 0.7) if keyed else None, torch.rand(2, 40) < 0.15
    tail = torch.randn(2, 3, 6, dtype=F64)
    y, after = causal_conv(x, weight, bias, tail=tail, valid=valid, reset=reset)
    pieces, state = [], tail
    for a, b in itertools.pairwise((0, 1, 2, 4, 21, 40)):
        part = None if valid is None else valid[:, a:b]
        out, state = causal_conv(x[:, a:b], weight, bias, tail=state, valid=part, reset=reset[:, a:b])
        pieces.append(out)
    assert error(torch.cat(pieces, 1), y) < 1e-12 and error(state, after) < 1e-12


def test_packed_equals_alone():
    x, weight, bias = case(30)
    borders = (0, 1, 3, 14, 30)
    reset = torch.zeros(2, 30, dtype=torch.bool)
    reset[:, list(borders[:-1])] = True
    y, tail = causal_conv(x, weight, bias, reset=reset)
    alone = [causal_conv(x[:, a:b], weight, bias) for a, b in itertools.pairwise(borders)]
    assert error(y, torch.cat([out for out, _ in alone], 1)) < 1e-12 and error(tail, alone[-1][1]) < 1e-12


def test_bfloat16_and_second_derivative():
    x, weight, bias = case(20)
    y, tail = causal_conv(x.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert y.dtype == tail.dtype == torch.bfloat16 and error(y, causal_conv(x, weight, bias)[0]) < 2e-2
    leaves = [t.requires_grad_() for t in case(4, 2, 2)]
    assert torch.autograd.gradgradcheck(lambda *a: causal_conv(*a)[0], leaves)
