"""A penalty by the harmonic number of the distance, and words cut where that is likeliest: limits and orders."""

from collections import Counter

import pytest
import torch
from system_cases import decode, gap, normal, part, shake, tokens

import blockyard as by
from blockyard.core import Axis, Call, Prod, Site, Spec
from blockyard.core.site import BuildContext
from blockyard.data.likelihood import cut, learn
from blockyard.data.tokens import learned_codec


def harmonic(heads=4, width=8, **settings):
    """The position as the slot of attention builds it."""
    stream = Prod(Axis("kv", heads // 2), Axis("group", 2), Axis("head_dim", width))
    site = Site("", stream, BuildContext(0, Spec("linear", "dense")))
    return site.build("position", Spec.of("position", "harmonic", settings))


def har(n):
    return sum(1 / r for r in range(1, n + 1))


@torch.no_grad()
def test_no_slope_is_rope():
    """(1) m = 0: attention with the part is attention with rope; with its slopes it is not."""
    x = normal(2, 15, 16)
    plain = part("mixer:attention", heads=4)(x)[0]
    without, whole = (
        part("mixer:attention", heads=4, position=Spec.of("position", "harmonic", dict(slope=slope)))(x)[0]
        for slope in (0.0, 1.0)
    )
    assert gap(without, plain) < 1e-12 and gap(whole, plain) > 1e-3


@torch.no_grad()
def test_without_rotation_it_is_a_bias_like_alibi_s():
    """(1) Scores without positions less slope times Har(i - j); the slopes are those of alibi."""
    x, apart = normal(2, 15, 16), torch.arange(15)[:, None] - torch.arange(15)
    spec = Spec.of("position", "harmonic", dict(turn=None, slope=2.0))
    made, bare = (part("mixer:attention", heads=4, position=each) for each in (spec, None))

    def scores(made):
        call = Call.plain(x)._replace(points={("part", "weights"): "read"}, captures={})
        made.path = "part"
        made(x, call)
        return call.captures[0, 0, "part", "weights"]

    slopes = torch.tensor([2.0 ** (-2 * h) for h in range(1, 5)]).double()
    penalty = torch.tensor([[har(max(0, int(d))) for d in row] for row in apart]).double()
    expected = (scores(bare).log() - 2 * slopes[:, None, None] * penalty).softmax(-1)
    assert gap(scores(made), expected) < 1e-6
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
def test_decoding_in_pieces_is_the_whole():
    model = shake(by.build("llama", "tiny", **{"mixer.position": "harmonic", "mixer.heads": 4}).double())
    x = tokens(2, 14)
    assert gap(decode(model, x, [5, 1, 8])[0], model(x).logits) < 1e-10


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
