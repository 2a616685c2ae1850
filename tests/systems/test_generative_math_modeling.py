"""Penalties by the harmonic number of the distance, caches by age, likely words, a search: limits and bounds."""

from collections import Counter

import numpy as np
import pytest
import torch
from system_cases import decode, gap, normal, part, shake, tokens

import blockyard as by
from blockyard.core import Axis, Call, Prod, Site, Spec
from blockyard.core.site import BuildContext
from blockyard.data.likelihood import cut, learn
from blockyard.data.tokens import learned_codec
from blockyard.decode.generate import generate
from blockyard.decode.prefix import PrefixStore
from blockyard.decode.program import refusal
from blockyard.transform.search_settings import cross_entropy_method


def harmonic(heads=4, width=8, form="harmonic", **settings):
    """The position as the slot of attention builds it."""
    stream = Prod(Axis("kv", heads // 2), Axis("group", 2), Axis("head_dim", width))
    site = Site("", stream, BuildContext(0, Spec("linear", "dense")))
    return site.build("position", Spec.of("position", form, settings))


def har(n):
    return sum(1 / r for r in range(1, n + 1))


def inside(made, x, name="weights"):
    """Weights (B,H,T,S) of attention on x, or its scores."""
    call = Call.plain(x)._replace(points={("part", name): "read"}, captures={})
    made.path = "part"
    made(x, call)
    return call.captures[0, 0, "part", name]


@torch.no_grad()
@pytest.mark.parametrize("form", ["harmonic", "harmonic_factor"])
def test_no_slope_is_rope(form):
    """(1) m = 0: attention with the part is attention with rope; with its slopes it is not."""
    x = normal(2, 15, 16)
    plain = part("mixer:attention", heads=4)(x)[0]
    without, whole = (
        part("mixer:attention", heads=4, position=Spec.of("position", form, dict(slope=slope)))(x)[0]
        for slope in (0.0, 1.0)
    )
    assert gap(without, plain) < 1e-12 and gap(whole, plain) > 1e-3


@torch.no_grad()
def test_as_a_factor_it_divides_the_scores_of_rope():
    """(1) By 1 + slope 2^(-8 h / H) Har(i - j), whatever their sign; what is not seen stays so."""
    x, apart = normal(2, 15, 16), torch.arange(15)[:, None] - torch.arange(15)
    spec = Spec.of("position", "harmonic_factor", dict(slope=2.0))
    made, rope = (part("mixer:attention", heads=4, position=each) for each in (spec, Spec("position", "rope")))
    found, before, seen = inside(made, x), inside(rope, x, "scores"), apart >= 0
    by_hand = torch.tensor([[[2 * 2.0 ** (-2 * h) * har(max(0, int(d))) for d in row] for row in apart]
                            for h in range(1, 5)]).double()  # fmt: skip
    assert gap(found, (before / (1 + by_hand)).softmax(-1)) < 1e-6
    assert bool((found[..., ~seen] == 0).all()) and gap(found, before.softmax(-1)) > 1e-2


@torch.no_grad()
def test_without_rotation_it_is_a_bias_like_alibi_s():
    """(1) Scores without positions less slope times Har(i - j); the slopes are those of alibi."""
    x, apart = normal(2, 15, 16), torch.arange(15)[:, None] - torch.arange(15)
    spec = Spec.of("position", "harmonic", dict(turn=None, slope=2.0))
    made, bare = (part("mixer:attention", heads=4, position=each) for each in (spec, None))
    slopes = torch.tensor([2.0 ** (-2 * h) for h in range(1, 5)]).double()
    penalty = torch.tensor([[har(max(0, int(d))) for d in row] for row in apart]).double()
    expected = (inside(bare, x).log() - 2 * slopes[:, None, None] * penalty).softmax(-1)
    assert gap(inside(made, x), expected) < 1e-6
    stream = Prod(Axis("kv", 2), Axis("group", 2), Axis("head_dim", 8))
    alibi = Site("", stream, BuildContext(0, Spec("linear", "dense"))).build("position", Spec("position", "alibi"))
    assert gap(harmonic().by_distance(2), alibi.by_distance(2)) < 1e-7


def test_scores_know_the_distance_only():
    """(1) Both of what is added and of what is turned."""
    made, q, k = harmonic().double(), normal(1, 3, 4, 8), normal(1, 3, 4, 8, seed=1)

    def scores(places):
        call = Call.plain(q[..., 0])._replace(positions=torch.tensor([places]))
        turned = torch.einsum("bthd,bshd->bhts", *made.at_qk(q, k, call))
        table = made.by_distance(20)
        apart = torch.tensor(places)[:, None] - torch.tensor(places)
        return turned + table[:, apart + 19]

    assert gap(scores([105, 109, 102]), scores([5, 9, 2])) < 1e-10
    assert gap(scores([6, 9, 2]), scores([5, 9, 2])) > 1e-3


def test_harmonic_numbers():
    """Har(n) = 1 + 1/2 + ... + 1/n on slopes of a geometric series, for all heads and both sides."""
    expected = torch.tensor([[-3 * 2.0**-h * har(abs(d)) for d in range(-9, 10)] for h in range(1, 9)])
    assert gap(harmonic(heads=8, slope=3.0).by_distance(10), expected) < 1e-6
    far = harmonic(heads=8).by_distance(5000)[0, -1]
    assert float(far) == pytest.approx(-0.5 * har(4999), rel=1e-6)


def test_what_turns_beside_it_is_a_slot():
    """Any scheme that does nothing but turn queries and keys; none leaves them."""
    q, k = normal(1, 9, 4, 8), normal(1, 9, 4, 8, seed=1)
    call = Call.plain(q[..., 0])
    assert all(torch.equal(a, b) for a, b in zip(harmonic(turn=None).at_qk(q, k, call), (q, k)))
    made = harmonic(turn=Spec.of("position", "ntk", dict(factor=2.0)))
    expected = made.turn.at_qk(q, k, call)
    assert all(torch.equal(a, b) for a, b in zip(made.at_qk(q, k, call), expected))
    assert made.turn.spec.name == "ntk" and gap(expected[0], harmonic().at_qk(q, k, call)[0]) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("form", ["harmonic", "harmonic_factor"])
def test_decoding_in_pieces_is_the_whole(form):
    model = shake(by.build("llama", "tiny", **{"mixer.position": form, "mixer.heads": 4}).double())
    x = tokens(2, 14)
    assert gap(decode(model, x, [5, 1, 8])[0], model(x).logits) < 1e-10


def aged(ages, bits):
    return Spec.of("pattern", "age_bits", dict(ages=ages, bits=bits))


def reader(ages=(), bits=(), dim=32):
    """A small model whose attention reads in fewer bits what is older."""
    made = by.build("llama", "tiny", dim=dim, **{"mixer.pattern": aged(ages, bits), "mixer.heads": 4})
    return shake(made.double()).eval()


@torch.no_grad()
def test_a_cache_in_full_at_every_age_is_the_plain_cache():
    """(3) To the bit, the state included; and to rounding where no text is as long as the first age."""
    plain, x = shake(by.build("llama", "tiny", **{"mixer.heads": 4}).double()).eval(), tokens(2, 14)
    expected, state = decode(plain, x, [5, 1, 8])
    found, other = decode(reader(), x, [5, 1, 8])
    assert torch.equal(found, expected) and other.nbytes == state.nbytes
    assert gap(decode(reader((14,), (2,)), x, [5, 1, 8])[0], expected) < 1e-12
    assert gap(decode(reader((13,), (2,)), x, [5, 1, 8])[0], expected) > 1e-6
    assert gap(decode(reader((3, 6), (8, 2)), x, [5, 1, 8])[0], reader((3, 6), (8, 2))(x).logits) < 1e-9


def steps_of(made, x):
    """What every query of x (T,G,K) reads as keys and as values, from a cache that gets one token after another."""
    k, v, state, leaves, found = x[None], -3 * x[None] + 1, by.State.empty(1), {}, []
    for t in range(len(x)):
        call, state = by.Batch(torch.zeros(1, 1, dtype=torch.long)).call(state, causal=True)
        levels, leaves = made.levels(k[:, t : t + 1], v[:, t : t + 1], leaves, call)
        at = [max(i for i, level in enumerate(levels) if level.age <= t - s) for s in range(t + 1)]
        found.append([torch.stack([levels[i][1 + of][0, s] for s, i in enumerate(at)]) for of in (0, 1)])
    return (k[0], v[0]), found


@pytest.mark.parametrize("ages,bits", [((2, 5, 9), (8, 4, 2)), ((3, 4), (8, 2)), ((1,), (4,))])
def test_an_entry_is_off_by_half_a_step_and_changes_at_boundaries_only(ages, bits):
    """(3) At each age the bound is that of its bits, from the number as it was: nothing is rounded twice."""
    made = by.make("pattern:age_bits", dim=4, ages=ages, bits=bits)
    given, found = steps_of(made, normal(16, 2, 6) * torch.logspace(-4, 4, 16)[:, None, None])
    for t, read in enumerate(found):
        for s in range(t + 1):
            few = next((b for age, b in zip(ages[::-1], bits[::-1]) if t - s >= age), None)
            for whole, part_of in zip(given, read):
                off, line = (part_of[s] - whole[s]).abs(), whole[s]
                wide = line.amax(-1, keepdim=True) - line.amin(-1, keepdim=True)
                if few is None:
                    assert not off.any()
                    continue
                rounding = 1e-6 * line.abs().amax(-1, keepdim=True)  # of single precision
                assert bool((off <= wide / 2 ** (few + 1) + rounding).all()) and off.max() > 0.02 * wide.min() / 2**few
                places = ((part_of[s] - line.amin(-1, keepdim=True)) / wide * 2**few - 0.5).round()
                assert places.min() == 0 and places.max() == 2**few - 1
        for s in range(t):
            same = all(torch.equal(now[s], before[s]) for now, before in zip(read, found[t - 1]))
            assert same == (t - s not in ages)


@torch.no_grad()
@pytest.mark.parametrize("ages,bits", [((4, 8, 12), (8, 4, 2)), ((3, 9), (8, 2)), ((5,), (4,))])
def test_bytes_of_a_cache_by_age(ages, bits):
    """(3) Two numbers a line, the codes of every age's bits, what is in full, and where it stands."""
    model, length = reader(ages, bits).float(), 40
    layers = sum(step.part.spec.name == "attention" for step in model.steps)
    lines, width = 2 * 4, 8  # keys and values of 4 heads
    room = lambda age: length if age is None else age - 1  # noqa: E731
    expected = length * lines * 2 * 4 + room(ages[0]) * (lines * width * 4 + 8)
    for low, high in ((0, 2), (2, 4), (4, 8)):
        if high <= bits[0]:
            until = next((age for age, few in zip(ages, bits) if few < high), None)
            expected += room(until) * (lines * width * (high - low) // 8 + (0 if until is None else 8))
    assert decode(model, tokens(1, length), [17, 1, 22])[1].nbytes == layers * expected


@torch.no_grad()
def test_attention_is_the_further_off_the_fewer_bits_there_are():
    """(3) At each age by itself, and where the same bits begin earlier."""
    x = normal(4, 60, 16)
    exact = part("mixer:attention", heads=4)(x)[0]

    def off(ages, bits):
        return (part("mixer:attention", heads=4, pattern=aged(ages, bits))(x)[0] - exact).norm()

    assert 0 < off((8,), (8,)) < off((8,), (4,)) < off((8,), (2,)) and off((60,), (2,)) < 1e-12
    assert off((8, 16), (8, 4)) < off((8, 16, 32), (8, 4, 2)) < off((8, 16), (8, 2)) < off((8,), (2,))


def test_gradients_go_by_as_if_nothing_was_coded():
    """(3) With codes that are nearly the numbers they are nearly those of plain attention, at every age."""
    x, found = normal(2, 20, 16), []
    for pattern in (None, aged((1,), (8,)), aged((1,), (2,))):
        made = part("mixer:attention", heads=4, pattern=pattern)
        (made(x)[0] * normal(2, 20, 16, seed=9)).sum().backward()
        found.append(made.qkv.weight.grad)
    assert (found[1] - found[0]).norm() < 0.03 * found[0].norm() < (found[2] - found[0]).norm()


def test_text_is_written_from_a_cache_by_age():
    """(3) The plain way, and it is said why; rows of any length, with prefixes that were read before."""
    model, rows = reader((3, 6, 10), (8, 4, 2), dim=64), [row[:n] for row, n in zip(tokens(3, 14), (14, 5, 9))]
    assert refusal(model.float()) == "pattern:age_bits, which reads otherwise what is further away"
    model, likeliest = model.double(), by.SamplingParams(temperature=0)
    together = [step.tokens.tolist() for step in generate(model, rows, 12, likeliest)]
    store = PrefixStore(model, block_size=4)
    for _ in range(2):
        assert [step.tokens.tolist() for step in generate(model, rows, 12, likeliest, store=store)] == together
    for row, line in zip(rows, zip(*together)):
        whole = torch.cat([row, torch.tensor(line)])
        assert torch.equal(model(whole[None]).logits[0, len(row) - 1 : -1].argmax(-1), whole[len(row) :])


def test_the_likeliest_cut_is_at_least_as_likely_as_a_greedy_one():
    """(4) Of every word of a text; and what is cut and joined again is the text."""
    text = "bcd\n" * 50 + "ab\n" * 40 + "a\n" * 60 + "the banana of the bandana, a quay in the cabana\n" * 9
    words = Counter(text.encode().split())
    pieces = learn(words, 300)
    likelier = 0
    for word in (*words, b"abcd", b"ananas"):
        greedy, rest = [], word
        while rest:
            greedy.append(next(rest[:n] for n in range(len(rest), 0, -1) if rest[:n] in pieces))
            rest = rest[len(greedy[-1]) :]
        best, first = (sum(pieces[part] for part in parts) for parts in (cut(word, pieces), greedy))
        assert best >= first - 1e-12
        likelier += best > first + 1e-9
        assert b"".join(cut(word, pieces)) == word
    assert likelier > 0 and cut(b"abcd", pieces) == [b"a", b"bcd"]
    codec = learned_codec("likelihood:270", [text.encode()])
    assert codec.decode(codec.encode(text)) == text


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_the_least_of_a_quadratic(seed):
    """(5) Of four unknowns that are not alike, within 1e-2 in 30 rounds of 50; also where the least is at an end."""
    draw = np.random.default_rng(seed + 100)
    goal, turn = draw.uniform(-4, 4, 4), np.linalg.qr(draw.standard_normal((4, 4)))[0]

    def score(x):
        return float(np.square(turn @ (x - goal)) @ [1.0, 2.0, 5.0, 10.0])

    low, high = np.full(4, -5.0), np.full(4, 5.0)
    found, least = cross_entropy_method(score, low, high, rounds=30, samples=50, best=0.2, seed=seed)
    assert np.abs(found - goal).max() < 1e-2 and least == score(found)
    first = cross_entropy_method(score, low, high, rounds=1, samples=50, best=0.2, seed=seed)
    assert np.abs(first[0] - goal).max() > 0.1 and first[1] > least
    found, _ = cross_entropy_method(lambda x: float(x.sum()), low, high, rounds=30, samples=50, best=0.2, seed=seed)
    assert bool((found >= low).all()) and np.abs(found - low).max() < 1e-2


def test_a_score_that_is_no_number_is_the_worst():
    def score(x):
        return float("nan") if x[0] > 0 else float((x[0] + 1) ** 2)

    found, least = cross_entropy_method(score, np.array([-3.0]), np.array([9.0]), rounds=20, samples=20, best=0.2)
    assert abs(found[0] + 1) < 1e-2 and np.isfinite(least)
