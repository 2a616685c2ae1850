"""Position schemes and length: what none at all can do, what a shift changes, and maps of attention held together."""

import numpy as np
import pytest
import torch
from system_cases import F64, decode, gap, normal, part, shake, tokens

import blockyard as by
from blockyard.core import Call, Spec
from blockyard.probe import attention_distance_probe
from blockyard.study.pe_length_generalization import ARMS
from blockyard.systems import parse_target

SCHEMES = {arm.partition("=")[0]: arm.partition("=")[2] for arm in ARMS} | {
    "learned": "llama:mixer.position=none,stem.position=learned,position.length=64"
}


def model_of(scheme, seed=1, **settings):
    """An arm of the study as a tiny model in double precision, with random values in every parameter."""
    _, name, own = parse_target(SCHEMES[scheme])
    return shake(by.build(by.spec(name, "tiny", **{**own, "mixer.heads": 4, **settings})).double(), seed)


def without(dim=4, **settings):
    """Attention of one head without positions, all of whose matrices are zero."""
    made = by.make("mixer:attention", dim=dim, heads=1, position=None, **settings).double()
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
    return made


@torch.no_grad()
def test_a_mean_over_the_past_counts():
    """(1) Even attention over a flag of the first token is 1/(t+1); a network of the theory's kind turns it into t."""
    made, length = without(), 513
    made.qkv.weight[8, 0] = made.out.weight[1, 0] = 1.0  # a value that is the flag, written to channel 1
    x = torch.zeros(1, length, 4, dtype=F64)
    x[0, 0, 0] = 1.0
    y, places = made(x)[0], torch.arange(length, dtype=F64)
    assert (y[0, :, 1] - 1 / (places + 1)).abs().max() < 1e-12 and y[0, :, [0, 2, 3]].abs().max() == 0

    counter = by.make("channel:mlp", dim=4, inner=length, activation=Spec("activation", "relu")).double()
    knots = 1 / (places + 1).flip(0)  # rising; a piece of a line between each two, through all of them
    slopes = (length - 1 - places).diff() / knots.diff()
    for p in counter.parameters():
        p.zero_()
    counter.up.weight[:, 1], counter.up.weight[:, 2] = 1.0, -torch.cat([knots[:1], knots[:-1]])
    counter.up.weight[0] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    counter.down.weight[3] = torch.cat([places[-1:], slopes[:1], slopes.diff()])
    y[0, :, 2] = 1.0
    assert (counter(y)[0][0, :, 3] - places).abs().max() < 1e-6


@torch.no_grad()
def test_a_head_that_reads_places_knows_the_distance():
    """(1) With t and 1 in the stream, scores are a function of t - i: every diagonal of the matrix is one number."""
    made, length = without(scale=1.0), 40
    made.qkv.weight[0, 0] = made.qkv.weight[1, 1] = 1.0  # q = (t, 1)
    made.qkv.weight[4, 1], made.qkv.weight[5, 0] = 0.3, -0.3  # k = 0.3 (1, -i)
    x = torch.zeros(1, length, 4, dtype=F64)
    x[0, :, 0], x[0, :, 1] = torch.arange(length), 1.0
    call = Call.plain(x)._replace(points={("", "scores"): "read"}, captures={})
    made.path = ""
    made(x, call)
    scores = call.captures[0, 0, "", "scores"][0, 0]
    apart = torch.arange(length)[:, None] - torch.arange(length)
    assert gap(scores[apart >= 0], 0.3 * apart[apart >= 0].double()) < 1e-12


def scores(made, x, shift):
    """(B,H,T,S) what a causal attention part weighs, every position moved."""
    call = Call.plain(x)
    call = call._replace(positions=call.positions + shift, points={("part", "weights"): "read"}, captures={})
    made.path = "part"
    made(x, call)
    return call.captures[0, 0, "part", "weights"]


@torch.no_grad()
@pytest.mark.parametrize("name,most", [("rope", 1e-10), ("alibi", 0.0), ("t5", 0.0)])
def test_moving_all_positions_changes_no_score(name, most):
    """(2) Of schemes that know the distance; those by a table of distances to the last bit."""
    made, x = part("mixer:attention", heads=4, position=name), normal(2, 12, 16)
    still = scores(made, x, 0)
    assert (scores(made, x, 700) - still).abs().max() <= most
    other = scores(part("mixer:attention", heads=4, position=None), x, 0)
    assert (still - other).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("scheme", ["sinusoidal", "learned"])
def test_moving_all_positions_changes_what_was_added_at_the_input(scheme):
    """(2) And with it every score behind it."""
    model = model_of(scheme)
    x, call = normal(1, 12, 32), Call.plain(normal(1, 12, 32))
    own = model.stem.position
    one, other = (own.at_input(x, call._replace(positions=call.positions + shift)) for shift in (0, 9))
    assert (one - other).abs().max() > 0.1
    made = model.steps[0].part
    assert (scores(made, one, 0) - scores(made, other, 0)).abs().max() > 1e-3


@torch.no_grad()
def test_only_the_mask_tells_the_order_without_positions():
    """(3) Without it tokens may change places and take their outputs along; with it they may not."""
    x, mix = tokens(2, 11), torch.randperm(11, generator=torch.Generator().manual_seed(2))
    for causal in (False, True):
        model = model_of("none", **{"model.causal": causal})
        apart = (model(x[:, mix]).logits - model(x).logits[:, mix]).abs().max()
        assert apart > 1e-3 if causal else apart < 1e-12
    rotated = model_of("rope", **{"model.causal": False})
    assert (rotated(x[:, mix]).logits - rotated(x).logits[:, mix]).abs().max() > 1e-3


def test_buckets_are_those_of_transformers():
    """(4) Of every distance from 0 to 1000."""
    theirs = pytest.importorskip("transformers.models.t5.modeling_t5").T5Attention._relative_position_bucket
    behind = torch.arange(1001)
    expected = theirs(-behind, bidirectional=False, num_buckets=32, max_distance=128)
    assert torch.equal(by.make("position:t5", dim=8).bucket(behind), expected)


@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEMES)
def test_decoding_in_pieces_is_the_whole(scheme):
    """(4) Token by token and in pieces, for every scheme."""
    model, x = model_of(scheme), tokens(2, 14)
    whole = model(x).logits
    for sizes in ([1] * 14, [5, 1, 8]):
        assert gap(decode(model, x, sizes)[0], whole) < 1e-10


@torch.no_grad()
def test_schemes_differ_and_longer_rows_are_read():
    """No two arms of the study say the same, and each reads four times the length of training; a table may not."""
    x = tokens(1, 64)
    said = {scheme: model_of(scheme)(x).logits for scheme in SCHEMES}
    names = list(said)
    for i, one in enumerate(names):
        assert said[one].isfinite().all()
        assert all((said[one] - said[other]).abs().max() > 1e-3 for other in names[:i])
    with pytest.raises(by.UsageError, match="65 tokens"):
        model_of("learned")(tokens(1, 65))


def test_maps_are_held_together():
    """The mean distance of every pair of heads, as scipy has it; 0 from itself, the same seen from the other side."""
    apart = pytest.importorskip("scipy.spatial.distance").jensenshannon
    one, other, x = model_of("none"), model_of("t5", seed=2), tokens(3, 9)
    found, back = attention_distance_probe(one, x, other, batch=2), attention_distance_probe(other, x, one)
    assert list(found) == ["steps.0.part", "steps.2.part"] and found["steps.0.part"].shape == (4, 4)
    with torch.no_grad():
        maps = [each(x, points={"steps.2.part:weights": "read"}).captures.values() for each in (one, other)]
    (a,), (b,) = maps
    for i, j in ((0, 0), (1, 3), (3, 2)):
        rows = [apart(a[n, i, t], b[n, j, t], base=2) for n in range(3) for t in range(9)]
        assert found["steps.2.part"][i, j] == pytest.approx(np.nan_to_num(rows).mean(), abs=1e-7)
    assert all(np.allclose(found[path], back[path].T) for path in found)
    same = attention_distance_probe(one, x, one)["steps.0.part"]
    assert np.abs(np.diag(same)).max() < 1e-7 and same.max() > 0.01


def test_maps_are_held_to_even_attention():
    """Where a query knows nothing attention is even, and the distance from it is 0."""
    model, x = model_of("none"), tokens(2, 8)
    mixer = model.steps[0].part
    with torch.no_grad():
        mixer.qkv.weight[:32] = 0  # no queries
    found = attention_distance_probe(model, x)
    assert found["steps.0.part"].shape == (4, 1) and found["steps.0.part"].max() < 1e-7 < found["steps.2.part"].min()
    apart = pytest.importorskip("scipy.spatial.distance").jensenshannon
    with torch.no_grad():
        (seen,) = model(x, points={"steps.2.part:weights": "read"}).captures.values()
    rows = [apart(seen[n, 1, t], (np.arange(8) <= t) / (t + 1), base=2) for n in range(2) for t in range(8)]
    assert found["steps.2.part"][1, 0] == pytest.approx(np.nan_to_num(rows).mean(), abs=1e-7)


def test_maps_of_other_numbers_of_steps_are_refused():
    with pytest.raises(by.UsageError, match="2 and 3"):
        attention_distance_probe(model_of("none"), tokens(1, 5), model_of("none", layers=3))
