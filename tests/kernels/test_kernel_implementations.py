"""The fast scans against the token loops: outputs, states, gradients, pieces, segments, precisions."""

import itertools

import pytest
import torch
from kernel_cases import KINDS, error, inputs, with_grads

from blockyard.kernels import force

LENGTHS = (1, 5, 67, 130)
IMPLEMENTATIONS = ("chunked", "cpu")
pytestmark = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)


def agree(implementation, kind, T, **how):
    op, args, start, reset = inputs(kind, T, **how)
    fast, slow = (with_grads(getattr(op, name), args, start, reset) for name in (implementation, "reference"))
    assert error(fast[0], slow[0]) < 1e-10 and error(fast[1], slow[1]) < 1e-10
    for ours, theirs in zip(fast[2], slow[2]):
        assert error(ours, theirs) < 1e-8


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_plain(implementation, kind, T):
    agree(implementation, kind, T)


@pytest.mark.parametrize("T", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_with_state_and_segments(implementation, kind, T):
    agree(implementation, kind, T, state=True, segments=True)


@pytest.mark.parametrize("how", [("state",), ("segments",), ("extreme", "state", "segments")])
@pytest.mark.parametrize("kind", KINDS)
def test_state_or_segments_or_extreme_fades(implementation, kind, how):
    agree(implementation, kind, 100, **dict.fromkeys(how, True))


@pytest.mark.parametrize("kind", KINDS)
def test_long_rows_use_larger_pieces(implementation, kind):
    op, args, start, _ = inputs(kind, 600, state=True)
    with torch.no_grad():
        fast, slow = (getattr(op, name)(*args, initial_state=start) for name in (implementation, "reference"))
    assert error(fast[0], slow[0]) < 1e-10 and error(fast[1], slow[1]) < 1e-10


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_float32(implementation, kind, extreme):
    op, args, start, reset = inputs(kind, 130, extreme=extreme, state=True, segments=True)
    exact = with_grads(op.reference, args, start, reset)
    ours = with_grads(getattr(op, implementation), [t.float() for t in args], start.float(), reset)
    assert ours[0].dtype == ours[1].dtype == torch.float32
    assert error(ours[0], exact[0]) < 2e-5 and error(ours[1], exact[1]) < 2e-5
    for mine, theirs in zip(ours[2], exact[2]):
        assert error(mine, theirs) < 1e-4


@pytest.mark.parametrize("T", [1, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_keeps_a_wide_state(implementation, kind, T):
    op, args, start, reset = inputs(kind, T, state=True, segments=True)
    args, start = [t.bfloat16() for t in args], start.float()
    fast, slow = (with_grads(getattr(op, name), args, start, reset) for name in (implementation, "reference"))
    assert fast[0].dtype == torch.bfloat16 and fast[1].dtype == torch.float32
    assert error(fast[0], slow[0]) < 2e-2 and error(fast[1], slow[1]) < 1e-5
    for mine, theirs in zip(fast[2], slow[2]):
        assert mine.dtype == theirs.dtype and error(mine, theirs) < 2e-2


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere_equals_whole(implementation, kind, segments):
    op, args, start, reset = inputs(kind, 70, state=True, segments=segments)
    op = getattr(op, implementation)
    y, final = op(*args, initial_state=start, reset=reset)
    pieces, state = [], start
    for a, b in ((0, 1), (1, 2), (2, 40), (40, 57), (57, 70)):
        part = [t if kind == "selective" and i == 2 else t[:, a:b] for i, t in enumerate(args)]
        out, state = op(*part, initial_state=state, reset=None if reset is None else reset[:, a:b])
        pieces.append(out)
    assert error(torch.cat(pieces, 1), y) < 1e-12 and error(state, final) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_packed_equals_alone(implementation, kind):
    op, args, start, _ = inputs(kind, 90, state=True, extreme=True)
    op = getattr(op, implementation)
    borders = [0, 7, 8, 40, 90]
    reset = torch.zeros(2, 90, dtype=torch.bool)
    reset[:, borders[1:-1]] = True
    y, final = op(*args, initial_state=start, reset=reset)
    for a, b in itertools.pairwise(borders):
        part = [t if kind == "selective" and i == 2 else t[:, a:b] for i, t in enumerate(args)]
        alone, state = op(*part, initial_state=start if a == 0 else None)
        assert error(y[:, a:b], alone) < 1e-12
    assert error(final, state) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_the_past_does_not_see_the_future(implementation, kind):
    op, args, _, _ = inputs(kind, 50)
    op = getattr(op, implementation)
    y, _ = op(*args)
    half = lambda t: torch.cat([t[:, :30], t[:, 30:] * 0.5], 1)  # noqa: E731
    later = [t if kind == "selective" and i == 2 else half(t) for i, t in enumerate(args)]
    assert torch.equal(op(*later)[0][:, :30], y[:, :30])


@pytest.mark.parametrize("kind", KINDS)
def test_every_fade_extreme_stays_finite(implementation, kind):
    op, args, start, reset = inputs(kind, 512 if kind != "selective" else 64, state=True, segments=True)
    if kind == "selective":
        args[2] = torch.full_like(args[2], -1e4)
    elif kind != "delta":
        args[-1] = torch.where(torch.rand_like(args[-1]) < 0.5, -1e4, args[-1])  # and sums of them over a row
    args = [t.float() for t in args]
    y, final, grads = with_grads(getattr(op, implementation), args, start.float(), reset)
    for t in (y, final, *grads):
        assert torch.isfinite(t).all()


def test_a_strong_gate_matches_the_loop(implementation):
    op, args, _, _ = inputs("vector", 512)
    args[-1] = torch.nn.functional.logsigmoid(torch.full_like(args[-1], -30.0))
    args = [t.float() for t in args]
    assert error(getattr(op, implementation)(*args)[0], op.reference(*args)[0]) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_leaves_scans_alone(implementation, kind):
    op, args, _, _ = inputs(kind, 40)
    args = [t.float() for t in args]
    with force(implementation):
        plain = op(*args)
        with torch.autocast("cpu", torch.bfloat16):
            cast = op(*args)
    assert torch.equal(plain[0], cast[0]) and torch.equal(plain[1], cast[1])


GATES = {
    "an end": lambda g: torch.cat([torch.full_like(g[:, :8], -1e4), g[:, 8:]], 1),
    "a harder end": lambda g: torch.cat([torch.full_like(g[:, :8], -1e5), g[:, 8:]], 1),
    "now and then": lambda g: torch.where(torch.rand_like(g) < 0.3, -1e4, g),
    "all closed": lambda g: torch.full_like(g, -30.0),
    "beyond all bounds": lambda g: torch.where(torch.rand_like(g) < 0.3, -1e30, g),
}


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("width", [6, 64, pytest.param(257, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["scalar", "vector", "gated", "diagonal"])
def test_a_hard_gate_costs_no_precision(implementation, kind, width, gate):
    """Float32 is as near as the loop's, values and gradients: nothing is a difference of two large sums."""
    op, args, _, _ = inputs(kind, 70, widths=(width, width))
    args[-1] = GATES[gate](args[-1])
    exact = with_grads(op.reference, args, None, None)
    ours = with_grads(getattr(op, implementation), [t.float() for t in args], None, None)
    for mine, theirs in zip((*ours[:2], *ours[2]), (*exact[:2], *exact[2])):
        assert error(mine, theirs) < 3e-6
