"""The scan of a transition that is diagonal plus rank one: its equation, its reductions, its form over pieces."""

import pytest
import torch
from kernel_cases import error, inputs, with_grads

from blockyard.kernels import decayed_scan, delta_scan, dplr_scan

F64 = torch.float64


def agree(found, wanted, limit):
    for ours, theirs in zip((*found[:2], *found[2]), (*wanted[:2], *wanted[2])):
        assert error(ours, theirs) < limit


def test_the_loop_is_the_equation():
    """One matrix a token, made in full and multiplied."""
    _, (q, k, v, a, b, g), start, _ = inputs("dplr", 7, state=True)
    y, final = dplr_scan.reference(q, k, v, a, b, g, initial_state=start)
    S = start
    for t in range(7):
        full = torch.diag_embed(g[:, t].exp()) + b[:, t].unsqueeze(-1) * a[:, t].unsqueeze(-2)
        S = full @ S + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        assert error(y[:, t], (S * q[:, t].unsqueeze(-1)).sum(-2)) < 1e-12
    assert error(final, S) < 1e-12


def test_two_scans_that_it_contains():
    _, (q, k, v, _, _, g), start, reset = inputs("dplr", 50, state=True, segments=True)
    nothing = torch.zeros_like(q)
    fades = dplr_scan.chunked(q, k, v, nothing, k, g, initial_state=start, reset=reset)
    unit, rate = torch.nn.functional.normalize(k, dim=-1), torch.rand(*k.shape[:3], 1, dtype=F64)
    erases = dplr_scan.chunked(q, rate * unit, v, -unit, rate * unit, nothing, initial_state=start, reset=reset)
    with torch.no_grad():
        known = decayed_scan.reference(q, k, v, g, initial_state=start, reset=reset)
        delta = delta_scan.reference(q, unit, v, rate[..., 0], initial_state=start, reset=reset)
    for ours, theirs in zip((*fades, *erases), (*known, *delta)):
        assert error(ours, theirs) < 1e-10


@pytest.mark.parametrize("T", [1, 5, 67, 300])
@pytest.mark.parametrize("how", [(), ("state",), ("segments",), ("extreme", "state", "segments")])
def test_pieces_are_the_loop_gradients_included(T, how):
    op, args, start, reset = inputs("dplr", T, **dict.fromkeys(how, True))
    agree(with_grads(op.chunked, args, start, reset), with_grads(op.reference, args, start, reset), 1e-8)


def test_single_precision_keeps_a_wide_state_and_hard_gates():
    op, args, start, reset = inputs("dplr", 70, extreme=True, state=True, segments=True)
    args[-1] = torch.where(torch.rand_like(args[-1]) < 0.3, -1e4, args[-1])
    exact = with_grads(op.reference, args, start, reset)
    agree(with_grads(op.chunked, [t.float() for t in args], start.float(), reset), exact, 1e-4)
    y, final = op.chunked(*(t.bfloat16() for t in args), initial_state=start.float())
    assert y.dtype == torch.bfloat16 and final.dtype == torch.float32


def test_cut_anywhere_equals_whole():
    op, args, start, reset = inputs("dplr", 70, state=True, segments=True)
    y, final = op(*args, initial_state=start, reset=reset)
    pieces, state = [], start
    for a, b in ((0, 1), (1, 2), (2, 40), (40, 70)):
        out, state = op(*(t[:, a:b] for t in args), initial_state=state, reset=reset[:, a:b])
        pieces.append(out)
    assert error(torch.cat(pieces, 1), y) < 1e-12 and error(state, final) < 1e-12


def test_its_closed_form_and_shapes_on_meta():
    op, args, start, reset = inputs("dplr", 9, state=True, segments=True)
    B, T, H, K, V = *args[0].shape, args[2].shape[-1]
    # what is read, faded, written back, written, and answered; one exponential for each decay
    assert op.flops(*args) == B * T * H * (2 * K * V + K * V + 2 * K * V + 2 * K * V + 2 * K * V + K)
    there = [t.to("meta") for t in args]
    y, state = op.chunked(*there, initial_state=start.to("meta"), reset=reset.to("meta"))
    assert y.shape == args[2].shape and state.shape == start.shape
