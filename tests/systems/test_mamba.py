"""What must hold of selective state spaces: Mamba, and Mamba-2 with its dual form."""

import copy

import pytest
import torch
from system_cases import F64, NONE, by_twin, feed, gap, grads, inner, normal, part, pieces, rms, short_conv, silu

import blockyard as by
from blockyard.kernels import decayed_scan, selective_scan
from blockyard.parts.mixer.ssm import mamba

E, N, R = 12, 5, 3  # mamba: inner width, state, rank
G, H, P, S = 2, 4, 3, 5  # mamba2: groups, heads, their width, state


def layer(kind, **settings):
    sizes = dict(inner=E, state=N, rank=R) if kind == "mamba" else dict(inner=H * P, head_dim=P, state=S, groups=G)
    made = part(f"mixer:{kind}", **sizes | settings)
    with torch.no_grad():
        made.dt_bias.add_(3)  # steps that matter, where fresh ones hardly fade
    return made


def softplus(x):
    return torch.log1p(torch.exp(x))


def mamba_loop(m, x):
    """Mamba token by token, from the weights alone: SiLU(z) gates after the skip, B by the Euler rule."""
    u, z = (x @ m.proj.weight.T).split(E, -1)
    u = short_conv(m.conv, u)
    thin, b, c = (u @ m.x_proj.weight.T).split([R, N, N], -1)
    dt = softplus(thin @ m.dt_proj.T + m.dt_bias)
    A, h, out = -m.A_log.exp(), torch.zeros(x.shape[0], E, N, dtype=F64), []
    for t in range(x.shape[1]):
        h = (dt[:, t, :, None] * A).exp() * h + (dt[:, t] * u[:, t])[..., None] * b[:, t, None]
        out.append((h * c[:, t, None]).sum(-1) + m.D * u[:, t])
    return (torch.stack(out, 1) * silu(z)) @ m.out.weight.T


def ssd_parts(m, x):
    """z, the heads' inputs, their steps and fades, B and C repeated for every head: from the weights alone."""
    B, T, _ = x.shape
    z, ubc, dt = (x @ m.proj.weight.T).split([H * P, H * P + 2 * G * S, H], -1)
    u, b, c = short_conv(m.conv, ubc).split([H * P, G * S, G * S], -1)
    dt = softplus(dt + m.dt_bias)
    b, c = (y.view(B, T, G, S).repeat_interleave(H // G, 2) for y in (b, c))
    return z, u.view(B, T, H, P), dt, -m.A_log.exp() * dt, b, c


def ssd_finish(m, y, u, z):
    """Skip, gate, and only then the norm, over all heads of a group at once."""
    y = (y + m.D[:, None] * u).flatten(2) * silu(z)
    return rms(y.unflatten(-1, (G, -1)), m.norm.gain.view(G, -1)).flatten(2) @ m.out.weight.T


def ssd_loop(m, x):
    z, u, dt, fade, b, c = ssd_parts(m, x)
    h, out = torch.zeros(x.shape[0], H, P, S, dtype=F64), []
    for t in range(x.shape[1]):
        h = fade[:, t, :, None, None].exp() * h + (dt[:, t, :, None] * u[:, t])[..., None] * b[:, t, :, None]
        out.append((h @ c[:, t, :, :, None]).squeeze(-1))
    return ssd_finish(m, torch.stack(out, 1), u, z)


def ssd_quadratic(m, x):
    """Y = (L * C B^T)(dt X), L_ts the product of the fades between."""
    z, u, dt, fade, b, c = ssd_parts(m, x)
    total, past = fade.cumsum(1), torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()[..., None]
    L = (total[:, :, None] - total[:, None]).masked_fill(~past, -1e9).exp()
    y = torch.einsum("btsh,bthn,bshn,bshp->bthp", L, c, b, dt[..., None] * u)
    return ssd_finish(m, y, u, z)


LITERAL = {"mamba": mamba_loop, "mamba2": ssd_loop}
KINDS = list(LITERAL)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 64, 75])
@pytest.mark.parametrize("kind", KINDS)
def test_scan_and_loop_agree(kind, length):
    """(1), (2) the scan over slices or chunks == the loop over tokens."""
    m, x = layer(kind), normal(2, length, 16)
    expected = LITERAL[kind](m, x)
    for twin in ("chunked", "reference"):
        assert gap(by_twin(twin, m)(x)[0], expected) < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_over_a_thousand_tokens(kind):
    """(1) at T=1024 single precision stays within 1e-4 of the loop in double precision."""
    m, x = layer(kind), normal(1, 1024, 16)
    assert gap(copy.deepcopy(m).float()(x.float())[0], by_twin("reference", m)(x)[0]) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree(kind):
    """(1), (2) the gradients too, by every parameter."""
    m, x = layer(kind), normal(2, 41, 16)
    expected = grads(lambda x: LITERAL[kind](m, x), m, x)
    found = grads(lambda x: m(x)[0], m, x)
    assert max(gap(a, b) for a, b in zip(found, expected)) < 1e-8
    assert all(g.abs().max() > 1e-6 for g in expected)


@torch.no_grad()
def test_a_norm_before_the_gate_is_caught():
    """(1) fails where Mamba-2 normalises before it gates."""
    m, whole, x = layer("mamba2", norm=NONE), layer("mamba2"), normal(2, 30, 16)
    z = ssd_parts(whole, x)[0]
    bare = inner(m, x, "context", gate=torch.ones_like)[2]["context"].unflatten(-1, (G, -1))
    early = rms(bare, whole.norm.gain.view(G, -1)).flatten(2) * silu(z)
    assert gap(early @ whole.out.weight.T, whole(x)[0]) > 1e-2


@torch.no_grad()
def test_a_zero_order_hold_on_the_input_is_caught(monkeypatch):
    """(1) fails where the input is held like the state, in place of the Euler rule."""
    m, x = layer("mamba"), normal(2, 30, 16)
    held = lambda u, dt, A, b, c, **rest: selective_scan(u * (1 - (-dt).exp()) / dt, dt, A, b, c, **rest)  # noqa: E731
    monkeypatch.setattr(mamba, "selective_scan", held)
    assert gap(m(x)[0], mamba_loop(m, x)) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 64, 75])
def test_chunks_are_the_quadratic_dual(length):
    """(2) SSD over chunks == its quadratic form == its loop."""
    m, x = layer("mamba2"), normal(2, length, 16)
    assert gap(m(x)[0], ssd_quadratic(m, x)) < 1e-10
    assert gap(ssd_loop(m, x), ssd_quadratic(m, x)) < 1e-10


@torch.no_grad()
def test_ssd_is_gla_with_one_fade_for_all_key_channels():
    """(2) the layer's own q, k, v and fade, the fade broadcast over key channels, through the gated linear scan."""
    m, x = layer("mamba2", norm=NONE), normal(2, 75, 16)
    m.D.zero_()
    n = inner(m, x, "q", "k", "v", "decay", "context", gate=torch.ones_like)[2]
    q, k = (n[name].repeat_interleave(H // G, 2) for name in ("q", "k"))
    y, _ = decayed_scan(q, k, n["v"], n["decay"].expand(-1, -1, -1, S))
    assert n["decay"].shape[-1] == 1 and gap(n["context"], y.flatten(2)) < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * 20, [3, 1, 16], [1, 19]])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_with_a_cache_are_the_forward(kind, sizes):
    """(3) token by token, with memory and convolution tail, equals the whole; without either it does not."""
    m, x = layer(kind), normal(2, 20, 16)
    whole = m(x)[0]
    assert gap(pieces(m, x, sizes)[0], whole) < 1e-10
    _, state = pieces(m, x[:, :10], 10)
    for lost in ("memory", "conv"):
        leaves = {key: value for key, value in state.get("part").items() if key != lost}
        assert gap(feed(m, x[:, 10:], state.put("part", leaves))[0], whole[:, 10:]) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("cut", [1, 8, 33, 64, 74])
@pytest.mark.parametrize("kind", KINDS)
def test_causality_is_exact(kind, cut):
    """(4) another token t leaves every output before t as it was, to the bit, and changes the one at t."""
    m, x = layer(kind), normal(2, 75, 16)
    other = x.clone()
    other[:, cut] += 1
    before, after = m(x)[0], m(other)[0]
    assert torch.equal(before[:, :cut], after[:, :cut]) and gap(after[:, cut], before[:, cut]) > 1e-3


@torch.no_grad()
def test_one_state_is_a_gated_average():
    """(5) N=1, A=-1, C=1, the zero-order hold on B: h = (1-g) h + g u with g the sigmoid of what softplus gets."""
    m, x = layer("mamba", inner=1, state=1), normal(2, 40, 16)
    m.A_log.zero_()
    m.D.zero_()
    m.dt_bias.fill_(1)
    steps = []
    hold = lambda b: (1 - (-steps[0]).exp()) / steps[0]  # noqa: E731
    keep = lambda dt: steps.append(dt) or dt  # noqa: E731
    n = inner(m, x, "u", "context", dt=keep, b=hold, c=torch.ones_like, gate=torch.ones_like)[2]
    g = ((n["u"] @ m.x_proj.weight[:R].T) @ m.dt_proj.T + m.dt_bias).sigmoid()
    h, out = torch.zeros(2, 1, dtype=F64), []
    for t in range(40):
        h = (1 - g[:, t]) * h + g[:, t] * n["u"][:, t]
        out.append(h)
    assert gap(n["context"], torch.stack(out, 1)) < 1e-6
    euler = inner(m, x, "context", b=torch.ones_like, c=torch.ones_like, gate=torch.ones_like)[2]["context"]
    assert gap(euler, torch.stack(out, 1)) > 1e-2


@torch.no_grad()
def test_constants_make_it_a_convolution():
    """(6) with constant steps, B and C: a causal convolution with the kernel C . exp(dt A)^n dt B, per channel."""
    m, x = layer("mamba"), normal(2, 40, 16)
    dt, b, c = softplus(normal(E, seed=2)), normal(N, seed=3), normal(N, seed=4)
    fixed = dict(dt=lambda y: dt.expand_as(y), b=lambda y: b.expand_as(y), c=lambda y: c.expand_as(y))
    n = inner(m, x, "u", "context", gate=torch.ones_like, **fixed)[2]
    lags = torch.arange(40, dtype=F64)[:, None, None]
    kernel = ((lags * dt[:, None] * -m.A_log.exp()).exp() * b * c).sum(-1) * dt
    y = torch.stack([(n["u"][:, : t + 1].flip(1) * kernel[: t + 1]).sum(1) for t in range(40)], 1)
    assert gap(n["context"], y + m.D * n["u"]) < 1e-10
    free = inner(m, x, "context", gate=torch.ones_like)[2]["context"]
    assert gap(free, y + m.D * n["u"]) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_fades_lie_between_zero_and_one(kind, fresh):
    """(7) 0 < exp(dt A) < 1, fresh and with any weights, in single precision."""
    sizes = {} if kind == "mamba" else dict(head_dim=4)
    m = by.make(f"mixer:{kind}", dim=16, **sizes) if fresh else layer(kind).float()
    n = inner(m, normal(2, 200, 16).float(), "dt" if kind == "mamba" else "decay")[2]
    fade = (n["dt"][..., None] * -m.A_log.exp()).exp() if kind == "mamba" else n["decay"].exp()
    assert fade.min() > 0 and fade.max() < 1


def test_time_constants_start_as_published():
    """(7) A = -(1..N) or in [-16,-1], steps log-uniform in [1e-3, 0.1], a skip of one, and no weight decay on them."""
    ours, dual = by.make("mixer:mamba", dim=256), by.make("mixer:mamba2", dim=256, head_dim=4)
    assert torch.allclose(ours.A_log.exp(), torch.arange(1.0, 17.0).expand(512, 16), rtol=1e-6)
    assert 1.0 <= dual.A_log.exp().min() < 3 and 14 < dual.A_log.exp().max() <= 16.001
    for made in (ours, dual):
        steps = torch.nn.functional.softplus(made.dt_bias).log10()
        assert -3.001 <= steps.min() < -2.8 and -1.2 < steps.max() <= -0.999 and abs(steps.mean() + 2) < 0.15
        assert bool((made.D == 1).all())
        kept = {use.path.rpartition(".")[2] for use in made.uses if not use.decay}
        assert {"A_log", "D", "dt_bias"} <= kept
    bound = ours.dt_proj.shape[1] ** -0.5
    assert 0.95 * bound < ours.dt_proj.abs().max() <= bound


def test_a_mamba_starts_with_the_published_widths_and_steps():
    """Twice the width, 16 states, steps from 1/16 of the width by weights on both sides of zero, up to rank^-1/2."""
    made = by.make("mixer:mamba", dim=40)
    assert made.A_log.shape == (80, 16) and made.dt_proj.shape == (80, 3)
    assert by.make("mixer:mamba", dim=17).dt_proj.shape == (34, 2)  # rounded up
    assert -(3**-0.5) <= made.dt_proj.min() < -0.5 and 0.5 < made.dt_proj.max() <= 3**-0.5
