"""Position schemes against formulas written out here, other people's code, and each other at their exact limits."""

import math

import pytest
import torch

import blockyard as by
from blockyard.core import Axis, Call, Prod, Site, Spec
from blockyard.core.site import BuildContext
from blockyard.core.state import State
from blockyard.decode.program import refusal

F64 = torch.float64
TURNING = {
    "rope": {}, "partial_rope": dict(share=0.5), "interpolated": dict(factor=3.0), "ntk": dict(factor=3.0),
    "dynamic_ntk": dict(trained=5, factor=2.0), "yarn": dict(trained=256, base=100.0), "llama3": dict(trained=64),
    "xpos": dict(span=30.0), "harmonic": {},
    "harmonic_factor": {}, "longrope": dict(trained=5),
}  # fmt: skip
LONG = Spec("position", "longrope")
BIASES = {"alibi": {}, "t5": {}, "kerple_log": {}, "kerple_power": {}, "harmonic": {}}


def position(name, heads=4, width=8, causal=True, **settings):
    """A position as the slot of an attention part builds it: on heads x channels."""
    stream = Prod(Axis("kv", heads // 2), Axis("group", 2), Axis("head_dim", width))
    site = Site("", stream, BuildContext(0, Spec("linear", "dense")), causal=causal)
    return site.build("position", Spec.of("position", name, settings)).double()


def at(positions):
    """The call of one row of tokens at these positions."""
    x = torch.zeros(1, len(positions), 1, dtype=F64)
    return Call.plain(x)._replace(positions=torch.tensor(positions)[None])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def gap(a, b):
    assert a.shape == b.shape and torch.isfinite(a).all() and torch.isfinite(b).all()
    return ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()


def turned(made, positions, width=8, heads=4):
    """Queries and keys of a row, turned."""
    q, k = normal(1, len(positions), heads, width), normal(1, len(positions), heads, width, seed=1)
    return made.at_qk(q, k, at(positions))


def scores(made, positions):
    q, k = turned(made, positions)
    return torch.einsum("bthd,bshd->bhts", q, k)


@pytest.mark.parametrize("name", TURNING)
def test_scores_know_the_distance_only(name):
    """Moved by one amount nothing changes; with one token moved by itself it does."""
    made = position(name, **TURNING[name])
    still = scores(made, [5, 9, 2, 14])
    assert gap(scores(made, [105, 109, 102, 114]), still) < 1e-10
    assert gap(scores(made, [6, 9, 2, 14]), still) > 1e-3


SAME_AS_ROPE = [
    ("interpolated", dict(factor=1.0)), ("ntk", dict(factor=1.0)), ("yarn", dict(factor=1.0)),
    ("llama3", dict(factor=1.0, base=10000.0)), ("partial_rope", dict(share=1.0)),
    ("dynamic_ntk", dict(trained=100, factor=3.0)), ("harmonic", dict(slope=0.0)), ("xpos", dict(span=1e20)),
    ("harmonic_factor", {}),
]  # fmt: skip


@pytest.mark.parametrize("name,settings", SAME_AS_ROPE)
def test_rope_is_the_limit(name, settings):
    """Where nothing is stretched, faded or left out, every scheme is rope."""
    for one, other in zip(turned(position(name, **settings), range(50)), turned(position("rope"), range(50))):
        assert gap(one, other) < 1e-12


USUAL = {
    "interpolated": dict(factor=4.0), "ntk": dict(factor=4.0), "xpos": dict(span=512.0, gamma=0.4),
    "yarn": dict(factor=4.0, fast=32.0, slow=1.0), "llama3": dict(factor=8.0, fast=4.0, slow=1.0, base=500000.0),
}  # fmt: skip


@pytest.mark.parametrize("name", USUAL)
def test_what_turns_where_nothing_is_said(name):
    """The settings of the sources; the base is 10000 for all but one."""
    for one, other in zip(
        turned(position(name, width=32), range(9), 32), turned(position(name, width=32, **USUAL[name]), range(9), 32)
    ):
        assert torch.equal(one, other)


def speeds(made, length=1):
    """(K/2,) how far each pair turns in a row of so many tokens."""
    found = made.speeds(Call.plain(torch.zeros(1, length, 1, dtype=F64)))
    return found.flatten()


def theirs(kind, width, base, length=None, **settings):
    """(K/2,) speeds and the factor on cosines and sines of transformers."""
    utils = pytest.importorskip("transformers.modeling_rope_utils")
    config = pytest.importorskip("transformers.models.llama.configuration_llama").LlamaConfig(
        hidden_size=4 * width, num_attention_heads=4, head_dim=width,
        max_position_embeddings=settings.pop("most", 2048),
        rope_parameters=dict(rope_type=kind, rope_theta=base, **settings),
    )  # fmt: skip
    return utils.ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)


@pytest.mark.parametrize("width", [8, 64, 128])
@pytest.mark.parametrize("factor", [1.0, 2.5, 16.0])
@pytest.mark.parametrize("base", [1e4, 5e5])
def test_speeds_are_those_of_transformers(width, factor, base):
    """Linear, dynamic, by parts and Llama 3's; in single precision there."""
    found, _ = theirs("linear", width, base, factor=factor)
    assert gap(speeds(position("interpolated", width=width, factor=factor, base=base)), found.double()) < 1e-6
    for length in (100, 300, 5000):
        found, _ = theirs("dynamic", width, base, length, factor=factor, most=256)
        made = position("dynamic_ntk", width=width, factor=factor, base=base, trained=256)
        assert ((speeds(made, length) / found.double()) - 1).abs().max() < 1e-5
    for fast, slow in ((32.0, 1.0), (4.0, 2.0)):
        given = dict(factor=factor, beta_fast=fast, beta_slow=slow, original_max_position_embeddings=1024)
        found, grown = theirs("yarn", width, base, **given)
        made = position("yarn", width=width, factor=factor, base=base, trained=1024, fast=fast, slow=slow)
        assert ((speeds(made) / found.double()) - 1).abs().max() < 1e-5 and made.grown == pytest.approx(grown)
    given = dict(factor=factor, beta_fast=100.0, beta_slow=1.0, original_max_position_embeddings=2000)
    found, _ = theirs("yarn", width, 10.0, **given)  # no pair is as slow as that: the last channel ends the ramp
    made = position("yarn", width=width, factor=factor, base=10.0, trained=2000, fast=100.0)
    assert ((speeds(made) / found.double()) - 1).abs().max() < 1e-5
    given = dict(factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=1024)
    found, _ = theirs("llama3", width, base, **given)
    made = position("llama3", width=width, factor=factor, base=base, trained=1024)
    assert ((speeds(made) / found.double()) - 1).abs().max() < 1e-5


def test_partly_turned_channels_are_those_of_transformers():
    """GPT-NeoX turns the first R channels, paired within: the same up to an order of channels."""
    neox = pytest.importorskip("transformers.models.gpt_neox.modeling_gpt_neox")
    q, k = normal(1, 9, 4, 16), normal(1, 9, 4, 16, seed=1)
    angle = torch.arange(9, dtype=F64)[:, None] * 10000.0 ** -(torch.arange(3, dtype=F64) / 3)
    cos, sin = (torch.cat([wave, wave], -1)[None] for wave in (angle.cos(), angle.sin()))
    order = [0, 1, 2, 8, 9, 10, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15]  # theirs, in our numbers
    expected = neox.apply_rotary_pos_emb(q[..., order].transpose(1, 2), k[..., order].transpose(1, 2), cos, sin)
    made = position("partial_rope", width=16, share=0.4)
    for one, other in zip(made.at_qk(q, k, at(list(range(9)))), expected):
        assert gap(one[..., order], other.transpose(1, 2)) < 1e-12
    assert made.pairs == 3 and [position("partial_rope", width=width).pairs for width in (8, 16)] == [1, 2]


def test_a_larger_base_slows_the_slowest_pair_by_the_factor():
    """The fastest pair is as fast as before, the slowest is interpolated; two channels are one pair, the fastest."""
    plain, wide = speeds(position("rope", width=32)), speeds(position("ntk", width=32, factor=5.0))
    assert wide[0] == 1 and float(wide[-1] * 5 / plain[-1]) == pytest.approx(1, abs=1e-12)
    assert ((plain / wide).diff() > 0).all()
    assert speeds(position("ntk", width=2, factor=5.0)).tolist() == [1.0]


def test_yarn_leaves_alone_what_turns_often():
    """All pairs, where the slowest turns more than `fast` times in a training row; of short rows only the fastest."""
    made = position("yarn", base=10.0, trained=10**6, fast=9.0, factor=2.5)
    assert gap(speeds(made), speeds(position("rope", base=10.0))) < 1e-12
    short, plain = speeds(position("yarn", trained=4, fast=9.0, factor=2.5)), speeds(position("rope"))
    assert short[0] == 1 and gap(short[1:], plain[1:] / 2.5) < 1e-12


def test_yarn_makes_scores_larger_by_its_temperature():
    made = position("yarn", factor=4.0)
    assert made.grown == 1 + 0.1 * math.log(4)
    q, k = turned(made, [7])
    assert float(q.norm() / normal(1, 1, 4, 8).norm()) == pytest.approx(made.grown)
    assert float(k.norm() / normal(1, 1, 4, 8, seed=1).norm()) == pytest.approx(made.grown)


def test_the_base_grows_with_the_document():
    """Not with the batch: each row and packed document turns at the speeds of its own length, padding apart."""
    made = position("dynamic_ntk", trained=4, factor=2.0)
    plain, grown = speeds(position("rope")), speeds(position("ntk", factor=3.0))
    assert gap(speeds(made, 3), plain) < 1e-12 and gap(speeds(made, 8), grown) < 1e-12
    doubled = speeds(position("dynamic_ntk", trained=4), 8)  # as often as the row is longer, where nothing is said
    assert gap(doubled, speeds(position("ntk", factor=2.0))) < 1e-12
    x = torch.zeros(2, 11, dtype=torch.long)
    packed, _ = by.Batch(x, segment=torch.tensor([[0] * 3 + [1] * 8]).expand(2, 11)).call(None, causal=True)
    found = made.speeds(packed)
    assert gap(found[:, :3, 0], plain.expand(2, 3, 4)) < 1e-12 and gap(found[:, 3:, 0], grown.expand(2, 8, 4)) < 1e-12
    valid = torch.ones(2, 11, dtype=torch.bool)
    valid[0, 3:] = valid[1, :3] = False
    padded, _ = by.Batch(x, valid=valid).call(None, causal=True)
    assert gap(made.speeds(padded)[0, 0, 0], plain) < 1e-12 and gap(made.speeds(padded)[1, 0, 0], grown) < 1e-12


def test_a_base_that_grows_keeps_no_state():
    """Keys that a state keeps have turned at other speeds."""
    made = position("dynamic_ntk")
    call, _ = by.Batch(torch.zeros(1, 3, dtype=torch.long)).call(State.empty(1), causal=True)
    with pytest.raises(by.UsageError, match="cannot know; use position:ntk"):
        made.prepare(call)
    model = by.build("llama", "tiny", **{"mixer.position": "dynamic_ntk"})
    with pytest.raises(by.UsageError, match="dynamic_ntk"):
        model(torch.zeros(1, 3, dtype=torch.long), model.init_state(1))


def test_a_base_that_grows_carries_texts_that_do_not_make_it_grow():
    """With a state nothing but the plain speeds; a token beyond them is refused, whichever piece it is in."""
    for name, more in (("dynamic_ntk", {}), ("longrope", dict(long=(2.0, 3.0, 4.0, 5.0)))):
        turning = Spec.of("position", name, dict(trained=6, carried=6, **more))
        model = by.build("llama", "tiny", **{"mixer.position": turning, "mixer.head_dim": 8})
        tokens = torch.arange(8)[None]
        whole, state, pieces = model(tokens[:, :6]).logits, model.init_state(1), []
        for piece in tokens[:, :6].split([4, 1, 1], 1):
            out = model(piece, state)
            state, pieces = out.state, [*pieces, out.logits]
        assert gap(torch.cat(pieces, 1), whole) < 1e-5
        with pytest.raises(by.UsageError, match=r"at most 6 tokens \(carried\)"):
            model(tokens[:, 6:7], state)
        assert refusal(model) is not None  # its program would not know where to stop
    with pytest.raises(by.UsageError, match="carried=7 must be at most 6"):
        position("dynamic_ntk", trained=6, carried=7)


def test_each_pair_has_a_factor_of_its_own():
    """The short list up to the length of training, the long one beyond it, each document by itself."""
    short, long = (1.0, 1.1, 1.3, 2.0), (2.0, 3.0, 5.0, 8.0)
    made, plain = position("longrope", short=short, long=long, trained=4, grown=1.2), speeds(position("rope"))
    assert gap(speeds(made, 4), plain / torch.tensor(short, dtype=F64)) < 1e-12
    assert gap(speeds(made, 5), plain / torch.tensor(long, dtype=F64)) < 1e-12
    x = torch.zeros(1, 9, dtype=torch.long)
    packed, _ = by.Batch(x, segment=torch.tensor([[0] * 3 + [1] * 6])).call(None, causal=True)
    found = made.speeds(packed)[0, :, 0] * torch.tensor(short, dtype=F64) / plain
    assert gap(found[:3], torch.ones(3, 4, dtype=F64)) < 1e-12 and (found[3:] < 0.51).all()
    q, _ = turned(made, [7])
    assert float(q.norm() / normal(1, 1, 4, 8).norm()) == pytest.approx(1.2)
    with pytest.raises(by.UsageError, match="short has 3 factors for 4 pairs"):
        position("longrope", short=short[:3])


@pytest.mark.parametrize("of", [Spec("position", "yarn", (("factor", 3.0), ("trained", 64))), LONG])
def test_part_of_a_head_is_turned_as_a_smaller_head_would_be(of):
    """The channels that turn are those of a head of their number, in its scheme; the others are left alone."""
    made, places = position("partial_rope", width=16, share=0.5, of=of), list(range(9))
    alone = position(of.name, width=8, **dict(of.settings))
    axis, order = made.elsewhere
    assert axis is made.head_dim and sorted(order.tolist()) == list(range(16))
    q, k = normal(1, 9, 4, 16), normal(1, 9, 4, 16, seed=1)
    expected = alone.at_qk(q[..., :8], k[..., :8], at(places))
    for theirs, ours, given in zip(expected, made.at_qk(q[..., order], k[..., order], at(places)), (q, k)):
        assert gap(ours, torch.cat([theirs, given[..., 8:]], -1)[..., order]) < 1e-12
    back = made.unrotate(made.at_qk(q, k, at(places))[1], at(places))
    assert gap(back, k) < 1e-12
    with pytest.raises(by.UsageError, match="turns by tables"):
        position("partial_rope", width=16, share=0.5, of=Spec("position", "alibi"))


def test_yarn_takes_a_temperature_that_was_said():
    assert position("yarn", factor=4.0, grown=0.9).grown == 0.9


def test_products_fade_pair_by_pair():
    """A query at m and a key at n meet as cos((m - n) w) z^((m - n) / span), z = (2i/K + gamma) / (1 + gamma)."""
    made, places = position("xpos", width=6, span=20.0, gamma=0.7), [3, 11, 40]
    ones = torch.ones(1, 3, 1, 6, dtype=F64)
    q, k = made.at_qk(ones, ones, at(places))
    for i in range(3):
        z, w = (2 * i / 6 + 0.7) / 1.7, 10000.0 ** (-2 * i / 6)
        for m, query in enumerate(places):
            for n, key in enumerate(places):
                found = float((q[0, m, 0, i::3] * k[0, n, 0, i::3]).sum())
                assert found == pytest.approx(2 * math.cos((query - key) * w) * z ** ((query - key) / 20), rel=1e-9)


def test_powers_keep_their_precision_until_they_are_refused():
    """Single precision has the scores of double near the end of its range, and beyond is a line, not infinities."""
    made, q, k = position("xpos"), normal(1, 5, 4, 8).float(), normal(1, 5, 4, 8, seed=1).float()
    found = {}
    for dtype in (torch.float32, F64):
        call = at([34000, 34007, 34100, 34500, 34600])._replace(dtype=dtype)
        found[dtype] = torch.einsum("bthd,bshd->bhts", *made.at_qk(q.to(dtype), k.to(dtype), call)).double()
    assert gap(found[torch.float32], found[F64]) < 2e-5
    long = Call.plain(torch.zeros(1, 36000, 1))
    with pytest.raises(by.UsageError, match="36000 tokens"):
        made.prepare(long)
    position("xpos").prepare(Call.plain(torch.zeros(1, 34000, 1)))
    position("xpos").prepare(Call.plain(torch.zeros(1, 36000, 1, dtype=F64)))


def test_the_last_position_is_that_of_a_token_that_counts():
    """Of a span so short that the range of single precision ends at 69 tokens: padding is none of them."""
    made, x = position("xpos", span=1.0), torch.zeros(1, 75, 1)
    end = int(0.98 * math.log(torch.finfo(torch.float32).max) / math.log(1.4 / 0.4))
    for count in (end, end + 1):
        valid = torch.arange(75)[None] < count
        whole, padded = (Call.plain(x[:, :count]), by.Batch(x[..., 0], valid=valid).call(None, causal=True)[0])
        for call in (whole, padded):
            if count == end:
                assert all(table.isfinite().all() for table in made.tables(call))
            else:
                with pytest.raises(by.UsageError, match=f"{count} tokens, but powers of span=1 end at {end}"):
                    made.tables(call)


@pytest.mark.parametrize("name", BIASES)
@torch.no_grad()
def test_a_bias_is_by_distance(name):
    """What is added to a score is the table's number at its distance, wherever both ends stand; nothing at none."""
    made = position(name, causal=False, **BIASES[name])
    table = made.by_distance(20)
    full = made.bias(Call.plain(torch.zeros(1, 20, 1, dtype=F64), causal=False))
    for m, n in ((3, 9), (9, 4), (4, 4)):
        assert torch.equal(full[0, :, m, n], table[:, m - n + 19])
    assert name == "t5" or ((table[:, 19] == 0).all() and (table[:, 20:].diff() < 0).all())


@torch.no_grad()
def test_kernels_of_kerple():
    """-a log(1 + b d) and -a d^b, learned for every head within their ranges; the power 1 is a straight line."""
    apart = torch.arange(-29, 30).abs().double()
    made = position("kerple_log")
    a, b = made.log_a.exp(), made.log_b.exp()
    assert gap(made.by_distance(30), -a[:, None] * (1 + b[:, None] * apart).log()) < 1e-12
    assert (a < 2).all() and (b < 1).all() and len(set(a.tolist())) == 4
    made = position("kerple_power")
    a, b = made.log_a.exp(), 2 * made.logit_b.sigmoid()
    assert gap(made.by_distance(30), -a[:, None] * apart ** b[:, None]) < 1e-12 and (b < 2).all() and (a < 1).all()
    made.logit_b.zero_()
    made.log_a.copy_(torch.arange(1, 5) * math.log(2) * -2)
    assert gap(made.by_distance(30), position("alibi").by_distance(30).double()) < 1e-6


@pytest.mark.parametrize("name", BIASES)
def test_a_bias_stands_where_its_call_does(name):
    """Whatever device a table is made on."""
    made, call = position(name, **BIASES[name]), Call.plain(torch.zeros(2, 5, 4))
    here = made.bias(call)
    there = made.to("meta").bias(Call.plain(torch.zeros(2, 5, 4, device="meta")))
    assert here.device.type == "cpu" and there.is_meta and there.shape == here.shape


@torch.no_grad()
def test_kernels_start_evenly_in_their_range():
    """From a hundredth on, of every head by itself."""
    log, power = position("kerple_log", heads=4000), position("kerple_power", heads=4000)
    for found, most in ((log.log_a.exp(), 2.0), (log.log_b.exp(), 1.0), (power.log_a.exp(), 1.0)):
        assert 0.01 <= found.min() < 0.014 and 0.995 * most < found.max() <= most + 1e-9
        assert float(found.mean()) == pytest.approx((0.01 + most) / 2, rel=0.05)
    share = power.logit_b.sigmoid()
    assert 0.01 <= share.min() < 0.014 and 0.986 < share.max() <= 0.99 + 1e-6
    assert float(share.mean()) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("name", ["kerple_log", "kerple_power", "alibi", "harmonic"])
@torch.no_grad()
def test_kernels_are_conditionally_positive(name):
    """Of numbers that sum to 0 the form c^T B c is not negative: a constant added makes the kernel a covariance."""
    made = position(name, causal=False)
    bias = made.bias(Call.plain(torch.zeros(1, 25, 1, dtype=F64), causal=False))[0].double()
    centred = torch.eye(25, dtype=F64) - 1 / 25
    assert torch.linalg.eigvalsh(centred @ bias @ centred).min() > -1e-6


def test_kernels_learn_and_stay_in_their_range():
    made = position("kerple_power")
    (made.by_distance(9).sum()).backward()
    assert made.log_a.grad.abs().min() > 0 and made.logit_b.grad.isfinite().all() and made.logit_b.grad.abs().min() > 0


@torch.no_grad()
def test_a_network_reads_the_share_of_the_past():
    """The formula at every pair of ends, also of keys that a cache brings."""
    made = position("fire", inner=8, threshold=6.0)
    made.c.fill_(-0.3)
    made.threshold.fill_(-6.0)

    def literal(query, key):
        share = math.log1p(0.3 * abs(query - key)) / (math.log1p(0.3 * max(query, 6.0)) + 1e-6)
        return (made.up * share + made.shift).clamp(min=0) @ made.down + made.offset

    full = made.bias(Call.plain(torch.zeros(1, 20, 1, dtype=F64)))
    assert full.shape == (1, 4, 20, 20)
    assert made.bias(Call.plain(torch.zeros(3, 20, 1, dtype=F64))).shape == full.shape  # of all aligned rows at once
    for query, key in ((0, 0), (3, 1), (5, 0), (6, 0), (19, 0), (19, 18), (12, 5), (2, 17)):
        assert gap(full[0, :, query, key], literal(query, key)) < 1e-12
    _, state = by.Batch(torch.zeros(1, 19, dtype=torch.long)).call(State.empty(1), causal=True)
    call, _ = by.Batch(torch.zeros(1, 1, dtype=torch.long)).call(state, causal=True)
    assert gap(made.bias(call), full[:, :, 19:]) < 1e-12
    kept = torch.tensor([[0, 7, 19]])
    assert gap(made.bias(call, kept), full[:, :, 19:, [0, 7, 19]]) < 1e-12
    made.down.zero_()
    assert gap(made.bias(call)[0, :, 0], made.offset[:, None].expand(4, 20)) < 1e-12


def test_a_network_starts_as_its_source_does():
    """Thirty-two numbers inside, drawn as a layer of that width is."""
    made = position("fire", heads=64)
    assert float(made.c) == pytest.approx(0.1) and float(made.threshold) == 512 and made.down.shape == (32, 64)
    for tensor, most in ((made.up, 1.0), (made.shift, 1.0), (made.down, 32**-0.5), (made.offset, 32**-0.5)):
        assert 0.8 * most < tensor.max() <= most and -most <= tensor.min() < -0.8 * most


def test_a_network_sees_nothing_far_that_it_has_not_seen():
    """The share of a causal pair is from 0 to 1 at any length, and below the threshold it is not stretched."""
    made = position("fire", inner=2, threshold=8.0)
    with torch.no_grad():
        made.up.copy_(torch.tensor([1.0, 0.0]))
        made.shift.zero_()
        made.offset.zero_()
        made.down.copy_(torch.tensor([1.0, 0.0])[:, None].expand(2, 4))
        shares = made.bias(Call.plain(torch.zeros(1, 40, 1, dtype=F64)))[0, 0].tril()
    assert shares.min() == 0 and shares.max() < 1 and shares[39, 0] > 0.999
    assert torch.equal(shares[3:8, 3], shares[4:9, 4]) and shares[20, 3] < shares[19, 2]


def test_a_bias_that_needs_both_ends_is_no_instruction():
    """It would be left out in silence."""
    model = by.build("llama", "tiny", dim=64, **{"mixer.position": "fire"})
    assert refusal(model) == "a bias that is not by distance alone"
    assert refusal(by.build("llama", "tiny", dim=64, **{"mixer.position": "kerple_log"})) is None


REFUSED = [
    ("partial_rope", dict(share=0.2), "no pair"), ("yarn", dict(fast=1.0), "more turns"),
    ("llama3", dict(slow=5.0), "more turns"), ("yarn", dict(base=1.0), "above 1"), ("ntk", dict(width=7), "odd"),
    ("harmonic", dict(turn=Spec("position", "alibi")), "nothing else"),
    ("harmonic", dict(turn=Spec("position", "harmonic")), "nothing else"),
    ("harmonic", dict(turn=Spec("position", "fire")), "nothing else"),
    ("harmonic", dict(turn=Spec("position", "harmonic_factor")), "nothing else"),
    ("harmonic_factor", dict(turn=Spec("position", "capped")), "nothing else"),
]  # fmt: skip


@pytest.mark.parametrize("name,settings,why", REFUSED)
def test_what_means_nothing_is_refused(name, settings, why):
    with pytest.raises(by.UsageError, match=why):
        position(name, **settings)


def test_a_fading_product_reads_one_way_only():
    """Backwards it would grow."""
    with pytest.raises(by.UsageError, match="bidirectional"):
        by.build("llama", "tiny", **{"mixer.position": "xpos", "model.causal": False})


@pytest.mark.parametrize(
    "path, name, words",
    [
        ("mixer.position", "learned", "learned adds to what the stem gives; here one is needed that turns queries"),
        ("stem.position", "alibi", "alibi adds to scores; here one is needed that adds to what the stem gives"),
        ("stem.position", "rope", "rope turns queries and keys; here one is needed that adds to what the stem gives"),
    ],
)
def test_a_position_that_would_do_nothing_where_it_stands_is_refused(path, name, words):
    with pytest.raises(by.UsageError, match=words):
        by.build("llama", "tiny", **{path: name})
    with pytest.raises(by.UsageError, match="alibi adds to scores; here one is needed that turns queries and keys"):
        by.build("retnet", "tiny", **{"mixer.position": "alibi"})
