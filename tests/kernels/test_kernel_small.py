"""No tokens, no rows, one token, resets anywhere: every implementation with its gradients. Loops check no index."""

import importlib
from pathlib import Path

import pytest
import torch
from kernel_cases import KINDS, OPS, error, inputs, with_grads

from blockyard import kernels
from blockyard.kernels.cross_entropy import op as surprise
from blockyard.kernels.dispatch import IMPLEMENTATIONS, Op
from blockyard.kernels.pointwise import op as pointwise
from blockyard.kernels.weights import pack

F64 = torch.float64


def every_op():
    folders = sorted(path.parent.name for path in Path(kernels.__path__[0]).glob("*/op.py"))
    files = [importlib.import_module(f"blockyard.kernels.{name}.op") for name in folders]
    return sorted({x for file in files for x in vars(file).values() if isinstance(x, Op)}, key=lambda op: op.name)


def normal(*shape):
    return torch.randn(*shape, dtype=F64)


def scans(name):
    def make(rows, T):
        for kind in (kind for kind, op in OPS.items() if op.name == name):
            _, args, start, reset = inputs(kind, max(1, T), state=True, segments=True)
            args = [t if kind == "selective" and i == 2 else t[:rows, :T] for i, t in enumerate(args)]
            yield [*args], {}
            yield [*args, start[:rows]], {"reset": reset[:rows, :T]}

    return make


def scalars(rows, T):
    args, start = [normal(rows, T, 4, 2, 3), normal(4, 2, 3, 3)], normal(rows, 4, 2, 3)
    marks = torch.rand(2, rows, T) < 0.5
    start[:, 2] = start[:, 2].abs() + 1  # a memory divides by it
    yield args, {}
    yield [*args, start], {"reset": marks[0], "valid": marks[1]}


def filters(rows, T):
    for W in (1, 4):
        args, valid, reset = [normal(rows, T, 6), normal(6, W), normal(6)], *(torch.rand(2, 2, T) < 0.5)
        yield args, {"silu": True}
        for marks in ({"reset": reset[:rows]}, {"valid": valid[:rows]}, {"reset": reset[:rows], "valid": valid[:rows]}):
            yield [*args, normal(rows, W - 1, 6)], marks


def attentions(rows, T):
    for past in (0, 3):
        k = normal(rows, past + T, 2, 8)
        yield [normal(rows, T, 4, 8), k, normal(rows, past + T, 2, 5)], {}
        yield [normal(rows, T, 4, 8), k, k], {"window": 2, "sinks": 1}
        yield [normal(rows, T, 4, 8), k[:, :0], k[:, :0]], {}
        yield [normal(rows, T, 4, 8), k, k], {"causal": False, "mask": torch.rand(rows, 1, T, past + T) < 0.6}


def picks(rows, T):
    places = torch.rand(rows, T, 7).argsort(-1)
    for K in (1, 3, 7):
        yield [normal(rows, T, K), normal(7, 5)], {"index": places[..., :K]}


def losses(rows, T):
    for scores in (16, 19):
        yield [normal(rows * T, scores)], {"targets": torch.randint(-1, scores, (rows * T,))}


PACKED = {"bits": 8, "group": 32, "N": 5}
CASES = {
    **{name: scans(name) for name in {op.name for op in OPS.values()}},
    "slstm_scan": scalars,
    "causal_conv": filters,
    "attend": attentions,
    "gathered_linear": picks,
    "linear": lambda rows, T: [([normal(rows, T, 16).float(), normal(5, 16).float(), normal(5).float()], {})],
    "packed_linear": lambda rows, T: [([normal(rows, T, 32)], {"packed": pack(normal(5, 32), 8, 32), **PACKED})],
    "rms_norm": lambda rows, T: [([normal(rows, T, 3, 16), normal(16)], {"eps": 1e-5})],
    "swiglu": lambda rows, T: [([normal(rows, T, 32)], {}), ([normal(rows, T, 36)], {})],
    "cross_entropy": losses,
    "gated": lambda rows, T: [([normal(rows, T, 16), normal(rows, T, 16)], {})],
    "rotate": lambda rows, T: [([normal(rows, T, 3, 32)], {"cos": normal(1, T, 1, 16), "sin": normal(1, T, 1, 16)})],
}  # fmt: skip


def outcome(op, implementation, args, how):
    """All outputs, and the gradients of their sum."""
    leaves = [t.clone().requires_grad_() for t in args]
    given = leaves
    if "reset" in how or "valid" in how:  # the last is what came before
        past = "tail" if op.name == "causal_conv" else "initial_state"
        given, how = leaves[:-1], how | {past: leaves[-1]}
    found = getattr(op, implementation)(*given, **how)
    found = found if isinstance(found, tuple) else (found,)
    loss = sum(y.sum() for y in found)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else [None] * len(leaves)
    return [*(y.detach() for y in found), *(torch.zeros_like(t) if g is None else g for g, t in zip(grads, leaves))]


@pytest.mark.parametrize("T", [0, 1, 2])
@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("op", every_op(), ids=lambda op: op.name)
def test_implementations_agree_on_little_or_nothing(op, rows, T, monkeypatch):
    monkeypatch.setattr(pointwise, "FEW", 0)
    monkeypatch.setattr(surprise, "FEW", 0)
    for implementation in (
        implementation for implementation in IMPLEMENTATIONS if getattr(op, implementation) is not None
    ):
        for seed, (args, how) in enumerate(CASES[op.name](rows, T)):
            torch.manual_seed(seed)
            ours, theirs = outcome(op, implementation, args, how), outcome(op, "reference", args, how)
            assert len(ours) == len(theirs)
            for a, b in zip(ours, theirs):
                assert a.dtype == b.dtype and error(a, b) < (1e-5 if op.name == "linear" else 1e-10)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_of_no_tokens_leaves_the_state_as_it_was(kind, implementation):
    op, args, start, reset = inputs(kind, 5, state=True, segments=True)
    none = [t if kind == "selective" and i == 2 else t[:, :0] for i, t in enumerate(args)]
    for marks in (None, reset[:, :0]):
        y, final, grads = with_grads(getattr(op, implementation), none, start, marks)
        assert y.shape[:2] == (2, 0) and torch.equal(final, start) and final.dtype == F64
        assert grads[-1].any() and not any(g.any() for g in grads[:-1])
        with torch.no_grad():
            assert not getattr(op, implementation)(*none, reset=marks)[1].any()
        short = getattr(op, implementation)(*(t.bfloat16() for t in none), initial_state=start.float(), reset=marks)
        assert short[0].dtype == torch.bfloat16 and torch.equal(short[1], start.float())


@pytest.mark.parametrize("T", [1, 2, 40])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[:2])
@pytest.mark.parametrize("kind", KINDS)
def test_resets_at_the_first_token_at_the_last_and_everywhere(kind, implementation, T):
    op, args, start, _ = inputs(kind, T, state=True)
    first, last, every = torch.zeros(3, 2, T, dtype=torch.bool)
    first[:, 0], last[:, -1], every[:] = True, True, True
    for reset in (first, last, first | last, every, ~first, ~every):
        ours, theirs = (with_grads(getattr(op, name), args, start, reset) for name in (implementation, "reference"))
        for a, b in zip((*ours[:2], *ours[2]), (*theirs[:2], *theirs[2])):
            assert error(a, b) < 1e-10


@pytest.mark.parametrize("name", [*{op.name: op for op in OPS.values() if op.cpu}, "causal_conv"])
def test_loops_refuse_shapes_that_would_lead_them_out_of_bounds(name):
    op = next(op for op in every_op() if op.name == name)
    for args, how in CASES[name](2, 7):
        if list(how) != ["reset"]:
            continue
        tensors = {**dict(enumerate(args)), **how}
        for at, x in tensors.items():
            for axis in range(x.dim() if isinstance(x, torch.Tensor) else 0):
                if x.shape[axis] <= 1 or (name == "causal_conv" and at == 1 and axis == 1):
                    continue  # another number of taps would be another filter
                short = tensors | {at: x.narrow(axis, 0, x.shape[axis] - 1)}
                with pytest.raises(ValueError, match="with"):
                    outcome(op, "cpu", [short[i] for i in range(len(args))], {n: short[n] for n in how})
