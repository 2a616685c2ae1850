"""Positions, attention, norms, residual rules and depth programs against formulas written out here."""

import pytest
import torch
from system_cases import F64, decode, feed, gap, model, normal, part, pieces, rms, shake, tokens

import blockyard as by
from blockyard.core import Axis, Call, Prod, Site, Spec
from blockyard.core.site import BuildContext
from blockyard.core.spec import block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.core.state import tensors as tensors_of
from blockyard.parts.depth.hybrid import parse


def position(name, heads=4, width=8, causal=True, **settings):
    """A position as the slot of an attention part builds it: on heads x channels."""
    stream = Prod(Axis("kv", heads // 2), Axis("group", 2), Axis("head_dim", width))
    site = Site("", stream, BuildContext(0, Spec("linear", "dense")), causal=causal)
    return site.build("position", Spec.of("position", name, settings)).double()


def at(positions):
    """The call of one row of tokens at these positions."""
    x = torch.zeros(1, len(positions), 1, dtype=F64)
    return Call.plain(x)._replace(positions=torch.tensor(positions)[None])


def literal_attention(m, x, *, kv, mask=None, bias=0.0, turn=None, q_norm=None, k_norm=None):
    """Dense masked softmax attention from the weights alone; query head i reads key head i // (H / kv)."""
    B, T, _ = x.shape
    K = m.head_dim.size
    H = m.out.weight.shape[1] // K
    q, k, v = (x @ m.qkv.weight.T).split([H * K, kv * K, kv * K], -1)
    q, k, v = q.view(B, T, H, K), k.view(B, T, kv, K), v.view(B, T, kv, K)
    q, k = (q if q_norm is None else q_norm(q)), (k if k_norm is None else k_norm(k))
    k, v = k.repeat_interleave(H // kv, 2), v.repeat_interleave(H // kv, 2)
    if turn is not None:
        q, k = turn(q), turn(k)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * K**-0.5 + bias
    seen = torch.ones(T, T, dtype=torch.bool).tril() if mask is None else mask
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("bhts,bshd->bthd", weights, v).flatten(2)


def complex_turn(x, base=10000.0):
    """Channel pairs (i, i + K/2) as complex numbers, times e^(i p base^(-2i/K))."""
    T, K = x.shape[1], x.shape[-1]
    angle = torch.arange(T, dtype=F64)[:, None] * base ** (-2 * torch.arange(K // 2, dtype=F64) / K)
    z = torch.complex(x[..., : K // 2], x[..., K // 2 :]) * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.cat([z.real, z.imag], -1)


def test_rope_is_a_complex_rotation():
    """Every pair of channels is turned by its own angle; keys turned back are the keys."""
    rope, q, k = position("rope", base=500.0), normal(1, 9, 4, 8), normal(1, 9, 2, 8, seed=1)
    call = at(list(range(9)))
    turned_q, turned_k = rope.at_qk(q, k, call)
    assert gap(turned_q, complex_turn(q, 500.0)) < 1e-12 and gap(turned_k, complex_turn(k, 500.0)) < 1e-12
    assert gap(rope.unrotate(turned_k, call), k) < 1e-12
    assert gap(turned_q, complex_turn(q, 501.0)) > 1e-5


def test_rope_knows_the_distance_only():
    """q.k depends on the difference of positions; moved by different amounts it changes."""
    rope, q, k = position("rope"), normal(1, 3, 4, 8), normal(1, 3, 4, 8, seed=1)

    def scores(q_at, k_at):
        return torch.einsum("bthd,bshd->bhts", rope.at_qk(q, q, at(q_at))[0], rope.at_qk(k, k, at(k_at))[1])

    still = scores([5, 9, 2], [3, 0, 7])
    assert gap(scores([1005, 1009, 1002], [1003, 1000, 1007]), still) < 1e-10
    assert gap(scores([6, 10, 3], [3, 0, 7]), still) > 1e-2


@torch.no_grad()
def test_rope_in_attention():
    """In an attention part queries and keys are turned, values are not."""
    m, x = part("mixer:attention", heads=4, kv_heads=2), normal(2, 15, 16)
    assert gap(m(x)[0], literal_attention(m, x, kv=2, turn=complex_turn) @ m.out.weight.T) < 1e-11


def test_rope_refuses_an_odd_width():
    with pytest.raises(by.UsageError, match="odd"):
        by.make("mixer:attention", dim=15, heads=5)


@pytest.mark.parametrize("heads", [2, 4, 8, 16])
def test_alibi_slopes(heads):
    """m_h = 2^(-8h/H), times the distance."""
    table = position("alibi", heads=heads).by_distance(6)
    expected = torch.tensor([[-(2 ** (-8 * h / heads)) * abs(d) for d in range(-5, 6)] for h in range(1, heads + 1)])
    assert gap(table.double(), expected.double()) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("name", ["alibi", "t5"])
def test_a_bias_by_distance_in_attention(name):
    """The bias of (query, key) is the table's at their distance; in pieces too, and windowed, and for grouped heads."""
    x, apart = normal(2, 15, 16), torch.arange(15)[:, None] - torch.arange(15)
    for window in (None, 5):
        m = part("mixer:attention", heads=4, kv_heads=2, position=Spec("position", name), window=window)
        bias = m.position.by_distance(15)[:, apart + 14]
        mask = (apart >= 0) & (apart < (window or 99))
        y = literal_attention(m, x, kv=2, bias=bias, mask=mask) @ m.out.weight.T
        assert gap(m(x)[0], y) < 1e-10
        assert gap(pieces(m, x, [4, 1, 1, 9])[0], y) < 1e-10
        assert gap(literal_attention(m, x, kv=2, mask=mask) @ m.out.weight.T, y) > 1e-3


def literal_bucket(behind, buckets, far, causal):
    """T5's bucket of one distance, in whole numbers: the largest b whose lower edge is not beyond the distance."""
    first = 0
    if not causal:
        buckets //= 2
        first = buckets if behind < 0 else 0
        behind = abs(behind)
    behind, exact = max(behind, 0), buckets // 2
    if behind < exact:
        return first + behind
    wide = buckets - exact
    # behind >= exact (far / exact)^(i / wide), raised to the power `wide` so that both sides are integers
    inside = [i for i in range(wide) if behind**wide * exact**i >= exact**wide * far**i]
    return first + exact + inside[-1]


SHAPES = [(32, 128), (16, 64), (8, 20), (64, 1000), (32, 500)]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("buckets, far", SHAPES)
def test_t5_buckets(buckets, far, causal):
    """Every bucket's edges, in exact arithmetic."""
    t5 = position("t5", causal=causal, buckets=buckets, max_distance=far)
    behind = torch.arange(-2 * far, 2 * far + 1)
    expected = [literal_bucket(d, buckets, far, causal) for d in behind.tolist()]
    assert t5.bucket(behind).tolist() == expected and max(expected) == buckets - 1
    table = t5.by_distance(6)
    assert all(torch.equal(table[:, d + 5], t5.table[literal_bucket(d, buckets, far, causal)]) for d in range(-5, 6))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("buckets, far", SHAPES)
def test_t5_buckets_are_those_of_transformers(buckets, far, causal):
    """The same buckets; where single precision there misses an exact edge, the distance stands on that edge."""
    theirs = pytest.importorskip("transformers.models.t5.modeling_t5").T5Attention._relative_position_bucket
    behind = torch.arange(-2 * far, 2 * far + 1)
    expected = theirs(-behind, bidirectional=not causal, num_buckets=buckets, max_distance=far)
    ours = position("t5", causal=causal, buckets=buckets, max_distance=far).bucket(behind)
    differs = (ours != expected).nonzero().flatten().tolist()
    for i in differs:
        d, sign = abs(int(behind[i])), 1 if behind[i] > 0 else -1
        edge = literal_bucket(sign * d, buckets, far, causal) != literal_bucket(sign * (d - 1), buckets, far, causal)
        assert edge and int(ours[i]) == int(expected[i]) + 1
    assert len(differs) <= 4


def test_learned_tables_start_small():
    """Normal, of standard deviation 0.02."""
    for table in (position("t5", heads=64).table, in_fresh_stem("learned", length=64).stem.position.table):
        assert table.std().item() == pytest.approx(0.02, rel=0.1) and abs(table.mean().item()) < 2e-3


def test_t5_shares_one_table_over_layers():
    t5 = Spec("position", "t5")
    spec = model_spec(
        dim=16, stem=stem("tokens", vocab=16), blocks=(block("layer", mixer("attention", heads=2, position=t5)),),
        residual=residual("prenorm"), depth=depth("stack", layers=3), head=head("lm"),
    )  # fmt: skip
    steps = by.build(spec).steps
    assert steps[0].part.position.table is steps[2].part.position.table


def in_fresh_stem(name, **settings):
    """A model whose stem alone knows positions, without any step that reads them."""
    return by.build(model_spec(
        dim=16, stem=stem("tokens", vocab=32, position=Spec.of("position", name, settings)),
        blocks=(block("layer", channel("mlp", inner=8)),), residual=residual("prenorm"), depth=depth("stack", layers=1),
        head=head("lm"),
    ))  # fmt: skip


def in_stem(name, **settings):
    """The same with random values in every parameter."""
    return shake(in_fresh_stem(name, **settings).double())


@torch.no_grad()
@pytest.mark.parametrize("name", ["learned", "sinusoidal"])
def test_positions_added_at_the_input(name):
    """The table's rows or sines then cosines, by position; padding does not count, segments start again."""
    m, x = in_stem(name, **(dict(length=40) if name == "learned" else {})), tokens(2, 12, 32)
    if name == "learned":
        rows = m.stem.position.table
    else:
        angle = torch.arange(40, dtype=F64)[:, None] * 10000.0 ** (-torch.arange(8, dtype=F64) / 8)
        rows = torch.cat([angle.sin(), angle.cos()], -1)
    embedded = m.stem.table[x]
    assert gap(m.start(x).x, embedded + rows[:12]) < 1e-12
    state = m(x[:, :5], m.init_state(2)).state
    assert gap(m.start(x[:, 5:], state).x, embedded[:, 5:] + rows[5:12]) < 1e-12
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[1, :4] = False
    assert gap(m.start(by.Batch(x, valid=valid)).x[1, 4:], embedded[1, 4:] + rows[:8]) < 1e-12
    segment = torch.tensor([[0] * 7 + [1] * 5]).expand(2, 12)
    assert gap(m.start(by.Batch(x, segment=segment)).x[:, 7:], embedded[:, 7:] + rows[:5]) < 1e-12


@torch.no_grad()
def test_learned_positions_end():
    """A text longer than the table is refused, not wrapped; a state counts."""
    m = in_stem("learned", length=8)
    with pytest.raises(by.UsageError, match="8"):
        m(tokens(1, 9, 32))
    x = tokens(1, 8, 32)
    assert gap(m.start(x).x, m.stem.table[x] + m.stem.position.table) < 1e-12
    state = m(x, m.init_state(1)).state
    with pytest.raises(by.UsageError, match="8"):
        m(tokens(1, 1, 32), state)
    for slots in (slice(0, 8), slice(4, 12)):  # tokens count, empty slots do not
        valid = torch.zeros(1, 12, dtype=torch.bool)
        valid[:, slots] = True
        padded, plain = m(by.Batch(tokens(1, 12, 32), valid=valid)), m(tokens(1, 12, 32)[:, slots])
        assert gap(padded.logits[:, slots], plain.logits) < 1e-12
        valid[:, 8 if slots.start == 0 else 3] = True
        with pytest.raises(by.UsageError, match="9 tokens"):
            m(by.Batch(tokens(1, 12, 32), valid=valid))


@torch.no_grad()
@pytest.mark.parametrize("kv", [1, 2])
def test_grouped_heads_are_repeated_keys(kv):
    """Grouped heads equal full heads whose key and value weights are repeated."""
    grouped, full = part("mixer:attention", heads=4, kv_heads=kv), part("mixer:attention", heads=4)
    x = normal(2, 15, 16)
    q, k, v = grouped.qkv.weight.split([16, 4 * kv, 4 * kv])
    repeat = lambda w: w.view(kv, 4, 16).repeat_interleave(4 // kv, 0).flatten(0, 1)  # noqa: E731
    full.qkv.weight.copy_(torch.cat([q, repeat(k), repeat(v)]))
    full.out.weight.copy_(grouped.out.weight)
    assert gap(grouped(x)[0], full(x)[0]) < 1e-12
    interleaved = lambda w: w.view(kv, 4, 16).repeat(4 // kv, 1, 1).flatten(0, 1)  # noqa: E731
    full.qkv.weight.copy_(torch.cat([q, interleaved(k), interleaved(v)]))
    assert kv == 1 or gap(grouped(x)[0], full(x)[0]) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("window, sinks", [(1, 0), (4, 0), (4, 2), (6, 3), (30, 2)])
def test_window_and_sinks_are_a_dense_mask(window, sinks):
    """The last `window` keys, itself included, and the first `sinks`; so is decoding through a cache that drops."""
    m, x = part("mixer:attention", heads=4, kv_heads=2, window=window, sinks=sinks), normal(2, 23, 16)
    apart = torch.arange(23)[:, None] - torch.arange(23)
    mask = (apart >= 0) & ((apart < window) | (torch.arange(23) < sinks))
    expected = literal_attention(m, x, kv=2, mask=mask, turn=complex_turn) @ m.out.weight.T
    assert gap(m(x)[0], expected) < 1e-11
    for sizes in ([1] * 23, [9, 1, 1, 5, 7], [2, 20, 1]):
        y, state = pieces(m, x, sizes)
        assert gap(y, expected) < 1e-11
        assert max(leaf.shape[1] for leaf in tensors_of(state.get("part"))) <= sinks + window - 1
    if window < 23:
        assert gap(part("mixer:attention", heads=4, kv_heads=2, window=window + 1, sinks=sinks)(x)[0], expected) > 1e-4


@torch.no_grad()
def test_a_dropped_cache_forgets_what_no_query_sees():
    """What left the window and is no sink does not matter any more; a sink does."""
    m, x = part("mixer:attention", heads=4, window=4, sinks=2), normal(1, 20, 16)
    _, state = pieces(m, x[:, :12], [12])
    rest = feed(m, x[:, 12:], state)[0]
    for changed, matters in ((5, False), (1, True), (10, True)):
        other = x.clone()
        other[:, changed] += 1
        again = feed(m, x[:, 12:], pieces(m, other[:, :12], [7, 5])[1])[0]
        assert (gap(again, rest) > 1e-4) == matters


@torch.no_grad()
def test_norms_and_gate_in_attention():
    """A norm per head before rope, a norm over all heads, and a gate from the input on the context."""
    x = normal(2, 15, 16)
    m = part("mixer:attention", heads=4, kv_heads=2, norm=Spec("norm", "rms"), gate=Spec("activation", "silu"))
    q_norm, k_norm = (lambda z: rms(z, m.q_norm.gain)), (lambda z: rms(z, m.k_norm.gain))
    y = literal_attention(m, x, kv=2, turn=complex_turn, q_norm=q_norm, k_norm=k_norm)
    gate = x @ m.gate_in.weight.T
    assert gap(m(x)[0], (y * gate * gate.sigmoid()) @ m.out.weight.T) < 1e-11
    m = part("mixer:attention", heads=4, kv_heads=2, norm_all=Spec("norm", "rms"), position=None)
    over = lambda z, gain: rms(z.flatten(2), gain).view_as(z)  # noqa: E731
    q_norm, k_norm = (lambda z: over(z, m.q_all.gain)), (lambda z: over(z, m.k_all.gain))
    assert m.k_all.gain.shape == (8,)
    assert gap(m(x)[0], literal_attention(m, x, kv=2, q_norm=q_norm, k_norm=k_norm) @ m.out.weight.T) < 1e-11
    m = part("mixer:attention", heads=4, scale=0.9)
    y = literal_attention(m, x, kv=4, turn=complex_turn, q_norm=lambda q: q * 0.9 / 0.5)
    assert gap(m(x)[0], y @ m.out.weight.T) < 1e-11


@torch.no_grad()
def test_norms():
    """Each norm against its formula, eps inside the root, gains and biases applied."""
    x = 3 * normal(2, 5, 12) + 0.5
    made = {name: part(f"norm:{name}", dim=12, eps=0.1) for name in ("rms", "layer", "l2")}
    assert gap(made["rms"](x), rms(x, made["rms"].gain, 0.1)) < 1e-12
    assert gap(made["rms"](x), torch.nn.functional.rms_norm(x, (12,), made["rms"].gain, 0.1)) < 1e-12
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (centred.square().mean(-1, keepdim=True) + 0.1).sqrt() * made["layer"].gain + made["layer"].bias
    assert gap(made["layer"](x), y) < 1e-12
    assert gap(made["l2"](x), x / (x.square().sum(-1, keepdim=True) + 0.1).sqrt()) < 1e-12
    assert torch.equal(by.make("norm:none", dim=12)(x), x)
    fresh = {name: by.make(f"norm:{name}", dim=12).double() for name in ("rms", "layer", "group_rms", "l2")}
    assert gap(fresh["rms"](x), rms(x, 1.0)) < 1e-12 and gap(fresh["group_rms"](x), rms(x, 1.0)) < 1e-12
    assert gap(fresh["l2"](x / 1e3), x / 1e3 / ((x / 1e3).square().sum(-1, keepdim=True) + 1e-6).sqrt()) < 1e-12
    assert gap(fresh["layer"](x), torch.nn.functional.layer_norm(x, (12,))) < 1e-12


@torch.no_grad()
def test_a_norm_of_groups():
    """Each group of channels by itself, with a gain for every channel."""
    site = Site("", Prod(Axis("groups", 3), Axis("channels", 4)), BuildContext(0, Spec("linear", "dense")))
    made, x = shake(site.build("norm", Spec("norm", "group_rms")).double()), normal(2, 5, 12)
    y = rms(x.view(2, 5, 3, 4), made.gain.view(3, 4))
    assert made.gain.shape == (12,) and gap(made(x), y.flatten(2)) < 1e-12


def one_step_spec(rule, sub):
    return model_spec(
        dim=16, stem=stem("tokens", vocab=32), blocks=(block("layer", sub),), residual=residual(rule),
        depth=depth("stack", layers=1), head=head("lm"),
    )  # fmt: skip


def one_step(rule, sub):
    return model(one_step_spec(rule, sub))


def layer_norm(x, norm):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], norm.gain, norm.bias, 1e-5)


RULES = {
    "prenorm": lambda x, f, r: x + f(rms(x, r.norm.gain)),
    "postnorm": lambda x, f, r: layer_norm(x + f(x), r.norm),
    "outnorm": lambda x, f, r: x + rms(f(x), r.norm.gain),
    "peri": lambda x, f, r: x + rms(f(rms(x, r.norm_in.gain)), r.norm_out.gain),
    "scaled": lambda x, f, r: x + r.gain * f(rms(x, r.norm.gain)),
}


@torch.no_grad()
@pytest.mark.parametrize("sub", [mixer("gla", heads=2), channel("mlp", inner=24)])
@pytest.mark.parametrize("rule", list(RULES))
def test_residual_rules(rule, sub):
    """Each rule against its equation; every other equation gives something else."""
    m = one_step(rule, sub)
    flow = m.start(tokens(2, 9, 32))
    step, after = m.steps[0], m.run(flow, [0]).x
    f = lambda x: step.part(x, flow.call, None)[0]  # noqa: E731
    assert gap(after, RULES[rule](flow.x, f, step.rule)) < 1e-12
    assert gap(after, flow.x + f(flow.x)) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_a_short_convolution_tap_by_tap(activation):
    """Zeros before the first token, then the activation, whichever it is; weights start within width^-1/2 of zero."""
    m, x = part("mixer:short_conv", width=3, bias=True, activation=activation), normal(2, 7, 16)
    before = torch.nn.functional.pad(x, (0, 0, 2, 0))
    y = sum(before[:, lag : lag + 7] * m.weight[:, lag] for lag in range(3)) + m.bias
    then = {None: lambda z: z, "relu": torch.relu, "silu": torch.nn.functional.silu}[activation]
    assert gap(m(x)[0], then(y)) < 1e-12
    fresh = by.make("mixer:short_conv", dim=64, width=3).weight
    assert -(3**-0.5) <= fresh.min() < -0.5 and 0.5 < fresh.max() <= 3**-0.5


def test_inner_widths_where_none_is_given():
    """Four times the width; gated, with a third matrix, 8/3 of it."""
    for width, third in ((15, 40), (16, 43), (17, 46)):
        assert by.make("channel:mlp", dim=width).down.weight.shape == (width, 4 * width)
        assert by.make("channel:gated", dim=width).down.weight.shape == (width, third)


def test_a_scaled_rule_starts_small():
    assert by.build(one_step_spec("scaled", channel("mlp"))).steps[0].rule.gain.eq(0.1).all()


def looped(name, **settings):
    layer = block("layer", mixer("gla", heads=2), mixer("attention", heads=2, window=5), channel("mlp", inner=24))
    return model_spec(
        dim=16, stem=stem("tokens", vocab=32), blocks=(layer,), residual=residual("prenorm"),
        depth=depth(name, **settings), head=head("lm"),
    )  # fmt: skip


@torch.no_grad()
def test_shared_depth_is_the_same_block_again():
    """One block three times equals three blocks with its weights, each loop with a state of its own."""
    once, x = model(looped("shared", loops=3)), tokens(2, 21, 32)
    thrice = shake(by.build(looped("stack", layers=3)).double())
    mine = once.state_dict()
    for name, value in thrice.state_dict().items():
        words = name.split(".")
        if words[0] == "steps":
            words[1] = str(int(words[1]) % 3)
        value.copy_(mine[".".join(words)])
    assert len(once.steps) == 3 and len(thrice.steps) == 9
    assert gap(once(x).logits, thrice(x).logits) < 1e-12
    logits, state = decode(once, x, [8, 1, 1, 11])
    assert gap(logits, thrice(x).logits) < 1e-10
    theirs = decode(thrice, x, 21)[1]
    for loop in range(3):
        ours = state.get((0, loop))["memory"]
        assert gap(ours, theirs.get((3 * loop, 0))["memory"]) < 1e-10
        assert loop == 0 or gap(ours, state.get((0, 0))["memory"]) > 1e-3


def test_shared_depth_starts_as_a_stack_as_deep():
    """What writes to the stream starts smaller by the root of all writes, loops counted."""
    shared, stack = by.build(looped("shared", loops=3)), by.build(looped("stack", layers=3))
    for loop in range(3):
        ours, theirs = shared.steps[2].part.down.weight, stack.steps[3 * loop + 2].part.down.weight
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.15)
    assert shared.steps[2].part.down.weight.std().item() == pytest.approx((9 * 24) ** -0.5, rel=0.15)


@pytest.mark.parametrize("pattern, names", [
    ("a", "a"), ("a+b", "a b"), (" 3*a + b ", "a a a b"), ("2*(a + b) + c", "a b a b c"), ("0*a + b", "b"),
    ("2*(a + 2*(b + c))", "a b c b c a b c b c"), ("(a)", "a"), ("((a + b)) + a", "a b a"),
    ("1*gated_deltanet", "gated_deltanet"), ("10*a2", " ".join(["a2"] * 10)),
])  # fmt: skip
def test_patterns(pattern, names):
    assert parse(pattern) == names.split()


@pytest.mark.parametrize("pattern", [
    "", " ", "+", "a +", "+ a", "a + + b", "a b", "a (b)", "3", "3*", "a + 3*", "a*3", "3 a", "(a", "a)", "c + (a + b",
    "a + ()", "()", "2*(a", "a + 2*(b", "a - b", "a, b", "3*3*a", "2a", "a + 3", "²*a", "0*a", "-1*a", "2.5*a",
])  # fmt: skip
def test_broken_patterns_are_refused(pattern):
    with pytest.raises(by.UsageError, match="pattern"):
        parse(pattern)


def test_a_pattern_of_unknown_blocks_is_refused():
    with pytest.raises(by.UsageError, match="attentoin"):
        by.build("olmo_hybrid", size="tiny", **{"depth.pattern": "delta + attentoin"})
