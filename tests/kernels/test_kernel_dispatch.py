"""Choosing a implementation, counting operations, tracing, running on no data at all."""

import os
import subprocess
import sys

import pytest
import torch
from kernel_cases import KINDS, error, inputs
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from blockyard.kernels import attend, causal_conv, count_flops, decayed_scan, exact, force
from blockyard.kernels.dispatch import Op
from blockyard.kernels.softmax import chunked

EACH_ELEMENT = {"add", "sub", "mul", "div", "exp", "neg"}


class Count(TorchDispatchMode):
    """Operations as they run: a multiply-add is two, element-wise work is one per result, a softmax four per score."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in EACH_ELEMENT:
            self.total += out.numel()
        elif name == "sum":
            self.total += args[0].numel()
        elif name == "_softmax":
            self.total += 4 * out.numel()
        elif name in ("bmm", "mm"):
            self.total += 2 * out.numel() * args[0].shape[-1]
        return out


def counted(op, *args, **how):
    with Count() as count, torch.no_grad():
        op.reference(*args, **how)
    return count.total


@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_of_scans(kind):
    op, args, _, _ = inputs(kind, 7)
    assert op.flops(*args) == counted(op, *args)


@pytest.mark.parametrize("offset", [False, True])
def test_closed_form_of_the_convolution(offset):
    x, weight, bias = torch.randn(2, 7, 6), torch.randn(6, 4), torch.randn(6) if offset else None
    assert causal_conv.flops(x, weight, bias) == counted(causal_conv, x, weight, bias)


def test_closed_form_of_attention_counts_visible_pairs():
    q, k, v = torch.randn(2, 3, 4, 8), torch.randn(2, 7, 2, 8), torch.randn(2, 7, 2, 5)
    dense = counted(attend, q, k, v, causal=False)
    assert attend.flops(q, k, v, causal=False) == dense
    for T in (1, 3, 7):
        some = torch.randn(2, T, 4, 8)
        pairs = sum(7 - T + t + 1 for t in range(T))
        assert attend.flops(some, k, v) * 7 * 3 == dense * pairs
    assert attend.flops(torch.randn(2, 7, 4, 8), k[:, :3], v[:, :3]) * 7 == dense * 2


def test_counting_on_the_meta_device_runs_nothing():
    for kind in KINDS:
        op, args, start, reset = inputs(kind, 9, state=True, segments=True)
        expected = op(*args, initial_state=start, reset=reset)
        there = [t.to("meta") for t in args]
        with FlopCounterMode(display=False) as outer, count_flops() as tally:
            got = op(*there, initial_state=start.to("meta"), reset=reset.to("meta"))
        assert outer.get_total_flops() == 0 and tally == {op.name: op.flops(*args)}
        for a, b in zip(got, expected):
            assert a.shape == b.shape and a.dtype == b.dtype and a.is_meta


@pytest.mark.parametrize("kind", KINDS)
def test_every_implementation_runs_on_the_meta_device(kind):
    op, args, start, reset = inputs(kind, 40, state=True, segments=True)
    there = [t.to("meta") for t in args]
    for implementation in (op, op.chunked, op.reference):
        y, state = implementation(*there, initial_state=start.to("meta"), reset=reset.to("meta"))
        assert y.shape == op(*args)[0].shape and state.shape == start.shape


def test_counting_on_a_real_device_computes_and_nests():
    op, args, _, _ = inputs("vector", 9)
    with count_flops() as outside:
        y, _ = op(*args)
        with count_flops() as inside:
            op(*args)
    assert error(y, op(*args)[0]) == 0
    assert outside == {"decayed_scan": 2 * op.flops(*args)} and inside == {"decayed_scan": op.flops(*args)}


def test_a_implementation_can_be_forced():
    probe = Op("probe", reference=lambda x: x + 1, chunked=lambda x: x + 2, flops=lambda x: 1, fake=lambda x: x)
    x = torch.zeros(())
    assert probe(x) == 2
    with force("reference"):
        assert probe(x) == 1
        with force("chunked"):
            assert probe(x) == 2
        assert probe(x) == 1
    with exact():
        assert probe(x) == 1
    with pytest.raises(RuntimeError), exact():
        raise RuntimeError
    assert probe(x) == 2
    with pytest.raises(ValueError, match="accepted: cpu, chunked, reference"), force("fast"):
        pass


def test_the_environment_forces_a_implementations():
    code = "from blockyard.kernels import dispatch; print(dispatch._switch.chosen)"
    env = {**os.environ, "BLOCKYARD_KERNEL": "reference"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "reference", done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_exact_can_be_differentiated_twice(kind):
    op, args, start, _ = inputs(kind, 3, state=True)
    if kind in ("selective", "diagonal"):
        small = [t[:1, :, :2] if t.dim() == 3 else t[:2, :2] for t in args]
        start = start[:1, :2] if kind == "diagonal" else start[:1, :2, :2]
    else:
        small = [t[:1, :, :1] if t.dim() == 3 else t[:1, :, :1, :2] for t in args]
        start = start[:1, :1, :2, :2]
    leaves = [t.clone().requires_grad_() for t in [*small, start]]
    with exact():
        assert torch.autograd.gradgradcheck(lambda *a: op(*a[:-1], initial_state=a[-1]), leaves)


def test_the_slice_kernel_refuses_a_second_derivative():
    op, args, _, _ = inputs("selective", 9)
    leaves = [t.requires_grad_() for t in args]
    (grad,) = torch.autograd.grad(op(*leaves)[0].square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("kind", [
    "diagonal", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("grouped", "vector", "gated", "selective")),
])  # fmt: skip
def test_traces_as_one_graph(kind):
    op, args, start, reset = inputs(kind, 10, state=True, segments=True)
    leaves = [t.requires_grad_() for t in args]
    whole = torch.compile(lambda *a: op(*a, initial_state=start, reset=reset), fullgraph=True, backend="aot_eager")
    for f in (whole, lambda *a: op(*a, initial_state=start, reset=reset)):
        y, state = f(*leaves)
        grads = torch.autograd.grad(y.square().sum() + state.square().sum(), leaves)
        if f is whole:
            traced = (y, state, *grads)
    for a, b in zip(traced, (y, state, *grads)):
        assert error(a, b) < 1e-12


def test_convolution_and_attention_trace_as_one_graph(monkeypatch):
    monkeypatch.setattr(chunked, "BLOCK", 4)
    x, weight = torch.randn(2, 9, 6), torch.randn(6, 4)
    valid = torch.rand(2, 9) < 0.5
    q = torch.randn(2, 9, 4, 8)

    def run():
        seen = attend(q, q, q), attend(q, q, q, window=3, sinks=1)
        return causal_conv(x, weight)[0], causal_conv(x, weight, valid=valid, reset=~valid)[0], *seen

    for a, b in zip(torch.compile(run, fullgraph=True, backend="aot_eager")(), run()):
        assert error(a, b) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_function_transforms(kind):
    op, args, _, _ = inputs(kind, 9)

    def loss(*a):
        return op(*a)[0].square().sum()

    for i in range(len(args)):
        leaves = [t.clone().requires_grad_() for t in args]
        (plain,) = torch.autograd.grad(loss(*leaves), leaves[i])
        assert error(torch.func.grad(loss, argnums=i)(*args), plain) < 1e-12


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_of_each_row_by_mapping():
    op, args, _, _ = inputs("selective", 9)
    x, weight = torch.randn(3, 9, 6, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    cases = [
        (lambda row: causal_conv(row[None], weight)[0].square().sum(), x),
        (lambda row: op(row[None], *(t[:1] if t.dim() == 3 else t for t in args[1:]))[0].square().sum(), args[0]),
    ]
    for loss, rows in cases:
        each = torch.func.vmap(torch.func.grad(loss))(rows)
        assert error(each, torch.stack([torch.func.grad(loss)(row) for row in rows])) < 1e-12


def test_a_switch_inside_a_scan_does_not_leak():
    op, args, _, _ = inputs("scalar", 9)
    with force("reference"):
        slow = decayed_scan(*args)[0]
    assert error(decayed_scan(*args)[0], slow) < 1e-12 and op is decayed_scan
