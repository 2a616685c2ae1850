"""What must hold of gated linear attention."""

import copy
import math

import pytest
import torch
from system_cases import F64, NONE, by_twin, cost, feed, gap, grads, inner, normal, part, pieces, rms, silu

from blockyard.kernels import decayed_scan
from blockyard.parts.mixer.linear import gla

H, K, V = 2, 4, 8


def layer(**settings):
    """A layer of 16 channels whose gates reach from nearly shut to nearly open."""
    made = part("mixer:gla", heads=H, **settings)
    with torch.no_grad():
        made.decay.up.mul_(8)
    return made


def weights_only(m, x, tau=16.0):
    """The parallel form over the whole row at once, from the weights alone."""
    B, T, _ = x.shape
    q, k, v, r = (x @ m.proj.weight.T).split([H * K, H * K, H * V, H * V], -1)
    logits = x @ (m.decay.up @ m.decay.down).T + m.decay.bias
    fade = (-torch.nn.functional.softplus(-logits) / tau).view(B, T, H, K).cumsum(1)
    q, k, v = q.view(B, T, H, K) * K**-0.5, k.view(B, T, H, K), v.view(B, T, H, V)
    past = torch.ones(T, T, dtype=torch.bool).tril()[..., None, None]
    between = (fade[:, :, None] - fade[:, None]).masked_fill(~past, -1e9).exp()
    o = torch.einsum("bthd,bshd,btshd,bshv->bthv", q, k, between, v)
    y = rms(o, m.norm.gain) * silu(r.view(B, T, H, V))
    return y.flatten(2) @ m.out.weight.T


@pytest.mark.parametrize("length", [1, 16, 64, 75])
def test_parallel_chunked_and_recurrent_agree(length):
    """(1) the parallel form, the chunked and the recurrent one are one function."""
    m, x = layer(), normal(2, length, 16)
    with torch.no_grad():
        expected = weights_only(m, x)
        for twin in ("chunked", "reference"):
            assert gap(by_twin(twin, m)(x)[0], expected) < 1e-10
        single = copy.deepcopy(m).float()
        assert gap(single(x.float())[0], expected) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 16, 64])
def test_pieces_of_every_size_agree(size):
    """(1) pieces of C tokens, the state carried from each to the next."""
    m, x = layer(), normal(2, 75, 16)
    assert gap(pieces(m, x, size)[0], weights_only(m, x)) < 1e-10


def test_gradients_agree():
    """(1) so do their gradients, of the input and of every parameter."""
    m, x = layer(), normal(2, 41, 16)
    expected = grads(lambda x: weights_only(m, x), m, x)
    assert all(g.abs().max() > 1e-4 for g in expected)
    for twin in ("chunked", "reference"):
        found = grads(by_twin(twin, lambda x: m(x)[0]), m, x)
        assert max(gap(a, b) for a, b in zip(found, expected)) < 1e-8


@torch.no_grad()
def test_a_decay_on_the_current_token_is_caught(monkeypatch):
    """(1) fails where the write of a token already fades, or where the gate is left out."""
    m, x = layer(), normal(2, 75, 16)
    late = lambda q, k, v, a, **rest: decayed_scan(q, k * a.exp(), v, a, **rest)  # noqa: E731
    none = lambda q, k, v, a, **rest: decayed_scan(q, k, v, 0 * a, **rest)  # noqa: E731
    for broken in (late, none):
        monkeypatch.setattr(gla, "decayed_scan", broken)
        assert gap(m(x)[0], weights_only(m, x)) > 1e-3


@torch.no_grad()
def test_an_open_gate_is_linear_attention():
    """(2) with every gate at one: (tril(Q K^T)) V, without normalisation."""
    m, x = layer(norm=NONE), normal(2, 75, 16)
    read = lambda: inner(m, x, "q", "k", "v", "context", gate=torch.ones_like)[2]  # noqa: E731
    plain = lambda n: torch.einsum(  # noqa: E731
        "bhts,bshv->bthv", (torch.einsum("bthd,bshd->bhts", n["q"], n["k"]) * K**-0.5).tril(), n["v"]
    ).flatten(2)
    gated = read()
    assert gap(gated["context"], plain(gated)) > 1e-2
    m.decay.up.zero_()
    m.decay.bias.fill_(60)
    opened = read()
    assert gap(opened["context"], plain(opened)) < 1e-11


@torch.no_grad()
def test_a_constant_gate_is_retention():
    """(3) with one constant for each head: RetNet without rotation, D_ts = gamma^(t-s)."""
    ours = part("mixer:gla", heads=H, key_dim=4, value_dim=6)
    theirs = part("mixer:retnet", heads=H, key_dim=4, value_dim=6, position=None, seed=5)
    for a, b in ((ours.proj, theirs.proj), (ours.out, theirs.out)):
        a.weight.copy_(b.weight)
    ours.norm.gain.copy_(theirs.norm.gain)
    gamma = 1 - 2.0 ** (-5 - torch.arange(H, dtype=F64))
    ours.decay.up.zero_()
    ours.decay.bias.copy_(torch.special.logit(gamma**16).repeat_interleave(4))
    x = normal(2, 75, 16)
    y, _, n = inner(ours, x, "q", "k", "v")
    assert gap(y, theirs(x)[0]) < 1e-10
    lag = torch.arange(75)[:, None] - torch.arange(75)
    weights = (gamma[:, None, None] ** lag.clamp(min=0)).tril() * torch.einsum("bthd,bshd->bhts", n["q"], n["k"]) / 2
    bare = part("mixer:gla", heads=H, key_dim=4, value_dim=6, norm=NONE)
    bare.load_state_dict(ours.state_dict(), strict=False)
    o = inner(bare, x, "context", gate=torch.ones_like)[2]["context"]
    assert gap(o, torch.einsum("bhts,bshv->bthv", weights, n["v"]).flatten(2)) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("tau", [1.0, 16.0])
def test_shut_gates_neither_overflow_nor_drift(tau, dtype):
    """(4) gate logits of -30 over 512 tokens: no inf or nan, forward or backward, and the loop's numbers."""
    m = layer(tau=tau).to(dtype)
    with torch.no_grad():
        m.decay.bias.copy_(torch.where(torch.arange(H * K) % 3 == 0, 5.0, -30.0))
    x = normal(2, 512, 16).to(dtype)
    tolerance = 1e-10 if dtype == F64 else 1e-4
    loop, fast = (by_twin(twin, lambda x: m(x)[0]) for twin in ("reference", "chunked"))
    assert gap(fast(x).detach(), loop(x).detach()) < tolerance
    assert all(g.isfinite().all() for g in grads(fast, m, x))
    # keys divided by the decay so far, the shortcut that these gates are here to catch
    decay = inner(m, x, "decay")[2]["decay"]
    assert not (-decay.cumsum(1)).exp().isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("first", [1, 16, 33, 74])
def test_a_prefix_and_its_rest_are_the_whole(first):
    """(5) [0,n), then [n,T) from the state that came back, equal the full run, in outputs and in the last state."""
    m, x = layer(), normal(2, 75, 16)
    whole, last = pieces(m, x, 75)
    y, state = pieces(m, x, [first, 75 - first])
    assert gap(y, whole) < 1e-10 and gap(state.get("part")["memory"], last.get("part")["memory"]) < 1e-10
    assert gap(feed(m, x[:, first:])[0], whole[:, first:]) > 1e-3


def test_cost_grows_linearly():
    """(6) the cost of 1k to 8k tokens grows with a power below 1.2; that of attention does not."""
    slope = lambda name: math.log(cost(name, 8192, heads=H) / cost(name, 1024, heads=H), 8)  # noqa: E731
    assert slope("mixer:gla") < 1.2 < slope("mixer:attention")
