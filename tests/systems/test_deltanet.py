"""What must hold of the delta rule, plain and gated."""

import copy

import pytest
import torch
from system_cases import EXACT_UNIT, F64, NONE, by_twin, gap, grads, inner, normal, part, pieces, rms, short_conv, silu

from blockyard.kernels import delta_scan
from blockyard.parts.mixer.linear import deltanet

KINDS = ["deltanet", "gated_deltanet"]
H = 2


def layer(kind, **settings):
    return part(f"mixer:{kind}", heads=H, **settings)


def constant_rate(made):
    """Steps of exactly half the largest."""
    with torch.no_grad():
        made.proj.weight[-H:] = 0
    return made


def weights_only(m, x, beta_max=1.0):
    """The recurrence token by token, from the weights alone."""
    B, T, _ = x.shape
    gated = hasattr(m, "A_log")
    K, V = (6, 12) if gated else (8, 8)
    widths = [H * K, H * K, H * V, H * V, H, H] if gated else [H * K, H * K, H * V, H]
    rows = (x @ m.proj.weight.T).split(widths, -1)
    q, k, v = short_conv(m.conv, torch.cat(rows[:3], -1)).split(widths[:3], -1)
    q, k, v = q.view(B, T, H, K), k.view(B, T, H, K), v.view(B, T, H, V)
    q, k = (z / (z.square().sum(-1, keepdim=True) + 1e-6).sqrt() for z in (q, k))
    beta = beta_max / (1 + torch.exp(-rows[-1]))
    alpha = torch.ones_like(beta)
    if gated:
        alpha = (-m.A_log.exp() * torch.log1p(torch.exp(rows[4] + m.dt_bias))).exp()
    S, out, eye = torch.zeros(B, H, K, V, dtype=F64), [], torch.eye(K, dtype=F64)
    for t in range(T):
        key, b = k[:, t, :, :, None], beta[:, t, :, None, None]
        S = alpha[:, t, :, None, None] * (eye - b * key @ key.mT) @ S + b * key @ v[:, t, :, None]
        out.append((S.mT @ q[:, t, :, :, None]).squeeze(-1) * K**-0.5)
    o = rms(torch.stack(out, 1), m.norm.gain)
    o = o * silu(rows[3].view_as(o)) if gated else o
    return o.flatten(2) @ m.out.weight.T


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 64, 75])
@pytest.mark.parametrize("kind", KINDS)
def test_chunked_and_recurrent_agree(kind, length):
    """(1) chunked == recurrent, in double and in single precision."""
    m, x = layer(kind), normal(2, length, 16)
    expected = weights_only(m, x)
    for twin in ("chunked", "reference"):
        assert gap(by_twin(twin, m)(x)[0], expected) < 1e-10
    assert gap(copy.deepcopy(m).float()(x.float())[0], expected) < 2e-5


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 16, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_every_size_agree(kind, size):
    """(1) pieces of C tokens, T not a multiple of C, memory and convolution tails carried."""
    m, x = layer(kind), normal(2, 75, 16)
    assert gap(pieces(m, x, size)[0], weights_only(m, x)) < 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree(kind):
    """(1) the gradients too."""
    m, x = layer(kind), normal(2, 41, 16)
    expected = grads(lambda x: weights_only(m, x), m, x)
    found = grads(lambda x: m(x)[0], m, x)
    assert max(gap(a, b) for a, b in zip(found, expected)) < 1e-8
    assert all(g.abs().max() > 1e-6 for g in expected)


@torch.no_grad()
def test_keys_of_another_length_are_caught():
    """(1) fails where keys keep their length or the convolution is missing."""
    x = normal(2, 75, 16)
    good = layer("deltanet")
    for broken in (layer("deltanet", unit=NONE), layer("deltanet", conv=None)):
        broken.load_state_dict(good.state_dict(), strict=False)
        assert gap(broken(x)[0], weights_only(good, x)) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_just_written_is_read_back(kind):
    """(2) with a step of one and unit keys: S_t^T k_t == v_t right after the write; with half a step it is not."""
    x = normal(2, 20, 16)
    for beta_max, exact in ((2.0, True), (1.0, False)):
        m = constant_rate(layer(kind, beta_max=beta_max, unit=EXACT_UNIT))
        n = inner(m, x, "k", "v")[2]
        for t in range(1, 20):
            S = pieces(m, x[:, :t], t)[1].get("part")["memory"]
            error = gap((S.mT @ n["k"][:, t - 1, :, :, None]).squeeze(-1), n["v"][:, t - 1])
            assert (error < 1e-6) == exact


@torch.no_grad()
def test_orthonormal_keys_make_it_linear_attention():
    """(3) keys that never meet erase nothing: linear attention with values scaled by the step."""
    m, x = layer("deltanet", norm=NONE, beta_max=2.0), normal(2, 8, 16)
    basis = torch.linalg.qr(normal(2, H, 8, 8, seed=3)).Q.transpose(1, 2)
    n = inner(m, x, "q", "v", "beta", "context", k=lambda k: basis)[2]
    scores = (torch.einsum("bthd,bshd->bhts", n["q"], basis) * 8**-0.5).tril()
    linear = lambda v: torch.einsum("bhts,bshv->bthv", scores, v).flatten(2)  # noqa: E731
    assert gap(n["context"], linear(n["v"] * n["beta"][..., None])) < 1e-11
    assert gap(n["context"], linear(n["v"])) > 1e-2
    n["k"] = inner(m, x, "k")[2]["k"]
    assert gap(inner(m, x, "context")[2]["context"], n["context"]) > 1e-2


@torch.no_grad()
def test_an_open_gate_is_the_plain_rule():
    """(4) gated with a fade of one == ungated, layer against layer."""
    plain = layer("deltanet", key_dim=6, value_dim=12)
    gated = layer("gated_deltanet", key_dim=6, value_dim=12, seed=5)
    rows = 2 * H * 6 + H * 12
    gated.proj.weight[:rows] = plain.proj.weight[:rows]
    gated.proj.weight[-H:] = plain.proj.weight[-H:]
    for a, b in ((gated.conv.weight, plain.conv.weight), (gated.norm.gain, plain.norm.gain)):
        a.copy_(b)
    gated.out.weight.copy_(plain.out.weight)
    x = normal(2, 75, 16)
    assert gap(inner(gated, x, gate=torch.ones_like)[0], plain(x)[0]) > 1e-2
    gated.A_log.fill_(-80)
    assert gap(inner(gated, x, gate=torch.ones_like)[0], plain(x)[0]) < 1e-11


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_and_no_fade_leave_the_memory(kind):
    """(4) beta = 0 and alpha = 1 leave S as it is."""
    m, x = layer(kind), normal(2, 40, 16)
    K, V = (6, 12) if kind == "gated_deltanet" else (8, 8)
    S = normal(2, H, K, V, seed=4)
    still = dict(decay=torch.zeros_like) if kind == "gated_deltanet" else {}
    assert torch.equal(inner(m, x, state={"memory": S}, beta=torch.zeros_like, **still)[1]["memory"], S)
    assert gap(inner(m, x, state={"memory": S}, **still)[1]["memory"], S) > 1e-2


@torch.no_grad()
def test_writing_twice_is_writing_once():
    """(5) the same key and value again change nothing; linear attention doubles them."""
    m = constant_rate(layer("deltanet", conv=None, unit=EXACT_UNIT, beta_max=2.0))
    x = normal(2, 1, 16)
    start = {"memory": normal(2, H, 8, 8, seed=4)}
    once, twice = (inner(m, x.expand(-1, n, -1), state=start)[1]["memory"] for n in (1, 2))
    assert gap(twice, once) < 1e-12 and gap(once, start["memory"]) > 1e-2
    linear = part("mixer:gla", heads=H)
    once, twice = (inner(linear, x.expand(-1, n, -1), state={}, decay=torch.zeros_like)[1]["memory"] for n in (1, 2))
    assert gap(twice, 2 * once) < 1e-12


@torch.no_grad()
def test_no_transition_expands():
    """(6) the operator norm of each transition is at most 1 for steps in [0,2]; with keys of any length it is not."""
    x = 3 * normal(200, 1, 16)
    eye = {"memory": torch.eye(8, dtype=F64).expand(200, H, 8, 8)}
    for unit, contracts in ((EXACT_UNIT, True), (NONE, False)):
        m = layer("deltanet", beta_max=2.0, unit=unit)
        m.proj.weight[-H:] *= 3
        _, leaves, n = inner(m, x, "beta", state=eye, v=torch.zeros_like)
        assert n["beta"].min() < 0.05 and n["beta"].max() > 1.95
        assert (torch.linalg.matrix_norm(leaves["memory"], 2).max() <= 1 + 1e-12) == contracts


@torch.no_grad()
def test_a_read_before_the_write_is_caught(monkeypatch):
    """(2) fails for a kernel whose erasure misses: what is read back is then not what was written."""
    m = constant_rate(layer("deltanet", beta_max=2.0, unit=EXACT_UNIT))
    x = normal(2, 9, 16)
    n = inner(m, x, "k", "v")[2]
    broken = lambda q, k, v, beta, **rest: delta_scan(q, k, v, 0.9 * beta, **rest)  # noqa: E731
    monkeypatch.setattr(deltanet, "delta_scan", broken)
    S = pieces(m, x, 9)[1].get("part")["memory"]
    assert gap((S.mT @ n["k"][:, -1, :, :, None]).squeeze(-1), n["v"][:, -1]) > 1e-3
