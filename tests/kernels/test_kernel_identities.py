"""What the cards of the recurrent family say must hold, as far as it is about the kernels."""

import math

import pytest
import torch
import torch.nn.functional as F
from kernel_cases import error, inputs

from blockyard.kernels import decayed_scan, delta_scan, selective_scan

F64 = torch.float64


def normal(*shape):
    return torch.randn(*shape, dtype=F64)


def parallel_gla(q, k, v, log_decay):
    """y_t = sum_{s<=t} [sum_d q_td k_sd exp(b_td - b_sd)] v_s, over the whole row at once."""
    b, past = log_decay.cumsum(1), torch.ones(q.shape[1], q.shape[1]).tril().bool()
    gap = (b[:, :, None] - b[:, None]).masked_fill(~past[..., None, None], -1e9)
    return torch.einsum("bthd,bshd,btshd,bshv->bthv", q, k, gap.exp().expand(*gap.shape[:-1], q.shape[-1]), v)


@pytest.mark.parametrize("kind", ["scalar", "vector"])
def test_gla_parallel_form(kind):
    _, args, _, _ = inputs(kind, 75)
    assert error(decayed_scan(*args)[0], parallel_gla(*args)) < 1e-11


@pytest.mark.parametrize("width", [1, 6])
def test_gla_without_fading_is_linear_attention(width):
    _, (q, k, v, _), _, _ = inputs("vector", 75)
    scores = torch.einsum("bthd,bshd->bhts", q, k).tril()
    y, state = decayed_scan(q, k, v, torch.zeros(*q.shape[:3], width, dtype=F64))
    assert error(y, torch.einsum("bhts,bshv->bthv", scores, v)) < 1e-11
    assert error(state, torch.einsum("bthd,bthv->bhdv", k, v)) < 1e-11


@pytest.mark.parametrize("width", [1, 6])
def test_gla_with_one_constant_is_retnet(width):
    _, (q, k, v, _), _, _ = inputs("vector", 75)
    steps = torch.arange(75, dtype=F64)
    decay = (0.9 ** (steps[:, None] - steps).clamp(min=0)).tril()
    scores = torch.einsum("bthd,bshd->bhts", q, k) * decay
    y, _ = decayed_scan(q, k, v, torch.full((*q.shape[:3], width), math.log(0.9), dtype=F64))
    assert error(y, torch.einsum("bhts,bshv->bthv", scores, v)) < 1e-11


@pytest.mark.parametrize("kind", ["scalar", "grouped"])
def test_ssd_is_gla_with_a_shared_decay_and_shared_keys(kind):
    _, (q, k, v, log_decay), start, reset = inputs(kind, 75, state=True, segments=True)
    wide = [x.repeat_interleave(v.shape[2] // x.shape[2], 2) for x in (q, k)]
    ours = decayed_scan(q, k, v, log_decay, initial_state=start, reset=reset)
    theirs = decayed_scan(*wide, v, log_decay.expand_as(wide[0]), initial_state=start, reset=reset)
    assert error(ours[0], theirs[0]) < 1e-11 and error(ours[1], theirs[1]) < 1e-11


def test_ssd_quadratic_dual():
    """Y = (L * C B^T) X with L_ts the product of the decays between."""
    _, (c, b, x, log_a), _, _ = inputs("scalar", 40)
    a = log_a.squeeze(-1).exp()
    L = torch.zeros(2, a.shape[2], 40, 40, dtype=F64)
    for t in range(40):
        for s in range(t + 1):
            L[:, :, t, s] = a[:, s + 1 : t + 1].prod(1)
    y = torch.einsum("bhts,bthn,bshn,bshp->bthp", L, c, b, x)
    assert error(decayed_scan(c, b, x, log_a)[0], y) < 1e-11


def test_padding_that_writes_and_fades_nothing_changes_nothing():
    _, args, start, _ = inputs("vector", 50, state=True)
    y, final = decayed_scan(*args, initial_state=start)
    padded = [F.pad(t, (0, 0, 0, 0, 9, 14)) for t in args]
    out, state = decayed_scan(*padded, initial_state=start)
    assert error(out[:, 9:59], y) < 1e-12 and error(state, final) < 1e-12


def test_delta_reads_back_what_it_has_just_written():
    _, (_, k, v, _), start, _ = inputs("delta", 75, state=True)
    y, _ = delta_scan(k, k, v, torch.ones(k.shape[:3], dtype=F64), initial_state=start)
    assert error(y, v) < 1e-6


def test_delta_with_orthonormal_keys_is_linear_attention():
    torch.manual_seed(0)
    k = torch.linalg.qr(normal(2, 3, 8, 8)).Q.transpose(1, 2)
    q, v, beta = normal(2, 8, 3, 8), normal(2, 8, 3, 5), 2 * torch.rand(2, 8, 3, dtype=F64)
    scores = torch.einsum("bthd,bshd->bhts", q, k).tril()
    assert error(delta_scan(q, k, v, beta)[0], torch.einsum("bhts,bshv->bthv", scores, v * beta[..., None])) < 1e-11


def test_delta_gate_of_one_and_rate_of_zero():
    _, (q, k, v, beta), start, _ = inputs("delta", 75, state=True)
    plain, gated = (delta_scan(q, k, v, beta, g, initial_state=start) for g in (None, torch.zeros_like(beta)))
    assert error(plain[0], gated[0]) < 1e-12 and error(plain[1], gated[1]) < 1e-12
    _, state = delta_scan(q, k, v, torch.zeros_like(beta), torch.zeros_like(beta), initial_state=start)
    assert torch.equal(state, start)


def test_delta_writing_twice_is_writing_once():
    _, (q, k, v, beta), start, _ = inputs("delta", 1, state=True)
    again = lambda t: torch.cat([t, t], 1)  # noqa: E731
    one = torch.ones_like(beta)
    once = delta_scan(q, k, v, one, initial_state=start)[1]
    twice = delta_scan(again(q), again(k), again(v), again(one), initial_state=start)[1]
    assert error(twice, once) < 1e-12
    fade = torch.zeros(*k.shape[:3], 1, dtype=F64)
    added = decayed_scan(again(q), again(k), again(v), again(fade))[1]
    assert error(added, 2 * decayed_scan(q, k, v, fade)[1]) < 1e-12


def transition(keys, beta, log_decay=None):
    """The matrix that a row of tokens applies to the state, read from a scan that starts at the identity."""
    K = keys.shape[-1]
    k, b = keys.view(1, -1, 1, K), beta.view(1, -1, 1)
    one = torch.eye(K, dtype=F64).view(1, 1, K, K)
    return delta_scan(k, k, torch.zeros_like(k), b, log_decay, initial_state=one)[1][0, 0]


@pytest.mark.parametrize("T", [1, 60])
def test_no_transition_expands(T):
    torch.manual_seed(0)
    for beta in torch.linspace(0, 2, 9, dtype=F64):
        keys = F.normalize(normal(T, 5), dim=-1)
        assert torch.linalg.matrix_norm(transition(keys, beta.expand(T)), 2) <= 1 + 1e-12


@pytest.mark.parametrize("copies", [1, 3])
def test_a_reflection_is_a_transposition(copies):
    key = torch.zeros(4, dtype=F64)
    key[1], key[3] = 0.5**0.5, -(0.5**0.5)
    swap = torch.eye(4, dtype=F64)[[0, 3, 2, 1]]
    keys = key.expand(copies, 4).contiguous()
    assert (transition(keys, torch.full((copies,), 2.0, dtype=F64)) - swap).abs().max() < 1e-12


def test_two_reflections_are_a_third_of_a_turn():
    angles = torch.tensor([0.0, math.pi / 3], dtype=F64)
    keys = torch.stack([angles.cos(), angles.sin()], -1)
    turn = transition(keys, torch.full((2,), 2.0, dtype=F64))
    assert abs(turn.trace() - 2 * math.cos(2 * math.pi / 3)) < 1e-12 and abs(torch.linalg.det(turn) - 1) < 1e-12
    assert (torch.linalg.matrix_power(turn, 3) - torch.eye(2, dtype=F64)).abs().max() < 1e-12


def test_virtual_tokens_are_the_explicit_product():
    torch.manual_seed(0)
    keys, beta = F.normalize(normal(90, 5), dim=-1), 2 * torch.rand(90, dtype=F64)
    product = torch.eye(5, dtype=F64)
    for key, rate in zip(keys, beta):
        product = (torch.eye(5, dtype=F64) - rate * torch.outer(key, key)) @ product
    assert (transition(keys, beta) - product).abs().max() < 1e-12


def test_parity_over_ten_thousand_bits():
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (1, 10_000, 1), dtype=torch.long)
    one = torch.ones(1, 10_000, 1, 1, dtype=F64)
    y, _ = delta_scan(one, one, 0 * one, 2.0 * bits.double(), initial_state=torch.ones(1, 1, 1, 1, dtype=F64))
    assert torch.equal(y.flatten(), 1 - 2.0 * (bits.cumsum(1) % 2).double().flatten())


def test_slots_swap_exactly_over_a_thousand_steps():
    torch.manual_seed(0)
    pairs = torch.stack([torch.randperm(5)[:2] for _ in range(1000)])
    keys = (F.one_hot(pairs[:, 0], 5) - F.one_hot(pairs[:, 1], 5)).double() * 0.5**0.5
    order = list(range(5))
    for i, j in pairs.tolist():
        order[i], order[j] = order[j], order[i]
    assert (transition(keys, torch.full((1000,), 2.0, dtype=F64)) - torch.eye(5, dtype=F64)[order]).abs().max() < 1e-10


def test_mamba_long_float32():
    op, args, _, _ = inputs("selective", 1024)
    with torch.no_grad():
        assert error(op.chunked(*(t.float() for t in args))[0], op.reference(*args)[0]) < 1e-4


def test_mamba_with_constants_is_a_convolution():
    """The kernel of lag n is C . exp(dt A)^n dt B, per channel."""
    torch.manual_seed(0)
    T, E, N = 60, 4, 3
    x, write, read = normal(2, T, E), normal(N), normal(N)
    dt, A = torch.rand(E, dtype=F64), -torch.rand(E, N, dtype=F64)
    y, _ = selective_scan(x, dt.expand(2, T, E), A, write.expand(2, T, N), read.expand(2, T, N))
    lags = torch.arange(T, dtype=F64)
    kernel = torch.einsum("n,len,e,n->el", read, (lags[:, None, None] * dt[:, None] * A).exp(), dt, write)
    expected = torch.stack([(x[:, : t + 1].flip(1) * kernel[:, : t + 1].t()).sum(1) for t in range(T)], 1)
    assert error(y, expected) < 1e-11


def test_mamba_of_one_state_is_a_gated_average():
    """N=1, A=-1, C=1 and the zero-order hold on B: h = (1-g) h + g x with g = sigmoid of what softplus is given."""
    torch.manual_seed(0)
    x, raw = normal(2, 80, 5), normal(2, 80, 5)
    dt, gate = F.softplus(raw), raw.sigmoid()
    one = torch.ones(2, 80, 1, dtype=F64)
    y, _ = selective_scan(x * (1 - (-dt).exp()) / dt, dt, -torch.ones(5, 1, dtype=F64), one, one)
    h, out = torch.zeros(2, 5, dtype=F64), []
    for t in range(80):
        h = (1 - gate[:, t]) * h + gate[:, t] * x[:, t]
        out.append(h)
    assert error(y, torch.stack(out, 1)) < 1e-6
