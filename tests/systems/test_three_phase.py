"""Three-Phase: the lines of its card; the gauge that folds all turns away; the authors' block written out."""

from math import pi

import pytest
import torch
from system_cases import F64, decode, gap, normal, rms, shake, silu, tokens

import blockyard as by

SIZE = dict(dim=24, heads=6, kv_heads=3, layers=3, vocab=32)


def system(**settings):
    return by.spec("three_phase", **SIZE | settings)


def turns(made):
    return [step.part for step in made.steps if step.part.spec.name == "rotate"]


@torch.no_grad()
@pytest.mark.parametrize("stripes", [1, 2, 3])
def test_turns_keep_sizes_and_can_be_undone(stripes):
    """(1) per stripe; R(-w) R(w) = I; the matrices of the N stripes sum to zero for N >= 2."""
    part = shake(by.make("channel:rotate", dim=24, stripes=stripes).double())
    x = normal(2, 5, 24)
    y, _ = part(x)
    assert gap(y.unflatten(-1, (stripes, -1)).norm(dim=-1), x.unflatten(-1, (stripes, -1)).norm(dim=-1)) < 1e-6
    matrix = part(torch.eye(24, dtype=F64)[None])[0][0].T  # R x = matrix @ x
    assert gap(matrix.T @ matrix, torch.eye(24, dtype=F64)) < 1e-6 and gap(x @ matrix.T, y) < 1e-9
    blocks = [matrix[i : i + 24 // stripes, i : i + 24 // stripes] for i in range(0, 24, 24 // stripes)]
    whole = sum(blocks)
    assert (whole.abs().max() < 1e-6) == (stripes > 1)
    half = 12 // stripes
    for i, block in enumerate(blocks):  # one channel of each half of a stripe
        for m in range(half):
            w = part.theta[m] + 2 * pi * i / stripes
            pair = block[[m, m + half]][:, [m, m + half]]
            assert gap(pair, torch.tensor([[w.cos(), -w.sin()], [w.sin(), w.cos()]], dtype=F64)) < 1e-9


@torch.no_grad()
def test_turns_start_evenly_over_depth_and_cost_little():
    """(1) theta = (l + 1) pi / 2L; L d_p / 2 numbers more than the body without them."""
    made = by.build(system())
    assert [gap(part.theta, torch.full((4,), (l + 1) * pi / 6)) < 1e-6 for l, part in enumerate(turns(made))] == [
        True
    ] * 3
    plain = by.build(by.spec("llama", **SIZE))
    count = sum(p.numel() for p in made.parameters()) - sum(p.numel() for p in plain.parameters())
    assert count == 3 * 24 // (2 * 3)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [9, [4, 1, 4], 1])
def test_the_mean_of_a_token_says_where_it_stands(sizes):
    """(2) 1 / (p + 1), in pieces too; what differs between channels is the embedding's."""
    made, x = by.build(system()).double(), tokens(2, 9, 32)
    bare = by.build(system(**{"stem.position": None})).double()
    state, found = made.init_state(2), []
    for piece in x.split(sizes, 1):
        found.append(made.start(piece, state).x)
        state = made(piece, state).state
    h, e = torch.cat(found, 1), bare.start(x).x
    assert gap(h.mean(-1), (1 / torch.arange(1, 10, dtype=F64)).expand(2, 9)) < 1e-6
    assert gap(h - h.mean(-1, keepdim=True), e - e.mean(-1, keepdim=True)) < 1e-9


@torch.no_grad()
def test_positions_of_packed_and_padded_tokens_are_their_own():
    """(2)"""
    made, x = by.build(system()).double(), tokens(1, 9, 32)
    segment = torch.tensor([[0] * 4 + [1] * 5])
    means = made.start(by.Batch(x, segment=segment)).x.mean(-1)
    assert gap(means[0], 1 / torch.tensor([1, 2, 3, 4, 1, 2, 3, 4, 5], dtype=F64)) < 1e-6
    valid = torch.arange(9)[None] >= 3
    assert gap(made.start(by.Batch(x, valid=valid)).x.mean(-1)[0, 3:], 1 / torch.arange(1, 7, dtype=F64)) < 1e-6


@torch.no_grad()
def test_one_stripe_that_does_not_turn_is_the_plain_body():
    """(3) without the horn, exactly."""
    made = by.build(system(stripes=1, **{"stem.position": None}))
    for part in turns(made):
        part.theta.zero_()
    plain = by.build(by.spec("llama", **SIZE, eps=1e-6))
    places = {0: 0, 1: 2}
    held = made.state_dict()
    theirs = {}
    for name in plain.state_dict():
        first, *rest = name.split(".")
        if first == "steps":
            layer, place = divmod(int(rest[0]), 2)
            name = ".".join(["steps", str(3 * layer + places[place]), *rest[1:]])
        theirs[name] = held[name]
    plain.load_state_dict(dict(zip(plain.state_dict(), theirs.values())))
    x = tokens(2, 9, 32)
    assert torch.equal(made(x).logits, plain(x).logits)
    turns(made)[1].theta.fill_(0.3)
    assert gap(made(x).logits, plain(x).logits) > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("stripes", [1, 3])
def test_all_turns_fold_into_the_weights_around_them(stripes):
    """(4) unit gains and no horn: readers and writers behind turns R_1 .. R_l work in the frame that these span."""
    made = shake(by.build(system(stripes=stripes, tied=False, **{"stem.position": None})).double())
    for name, p in made.named_parameters():
        if name.endswith("gain"):
            p.fill_(1.0)
    x = tokens(2, 9, 32)
    want = made(x).logits
    frame = torch.eye(24, dtype=F64)
    for step in made.steps:
        if step.part.spec.name == "rotate":
            frame = step.part(torch.eye(24, dtype=F64)[None])[0][0].T @ frame
            step.part.forward = lambda x, call, state=None: (x, state)
            continue
        reader = getattr(step.part, "qkv", None) or step.part.up
        writer = getattr(step.part, "out", None) or step.part.down
        reader.weight.copy_(reader.weight @ frame)
        writer.weight.copy_(frame.T @ writer.weight)
    assert gap(made(x).logits, want) > 1e-3
    made.head.table.copy_(made.head.table @ frame)
    assert gap(made(x).logits, want) < 1e-10


@torch.no_grad()
def test_token_by_token_is_the_whole():
    """(5)"""
    made, x = shake(by.build(system()).double()), tokens(2, 12, 32)
    assert gap(decode(made, x, 1)[0], made(x).logits) < 1e-10
    assert gap(decode(made, x, [5, 7])[0], made(x).logits) < 1e-10


@torch.no_grad()
def test_it_is_the_authors_block():
    """The whole model written out, neighbours paired as they have it: a permutation of the channels of each stripe."""
    made, x = shake(by.build(system(tied=False)).double()), tokens(2, 7, 32)
    order = torch.arange(24).view(3, 2, 4).transpose(1, 2).flatten()  # (a_0, b_0, a_1, b_1, ...) of each stripe
    e = made.stem.table[x][..., order]
    h = e + 1 / torch.arange(1, 8, dtype=F64)[:, None] - e.mean(-1, keepdim=True)

    def normed(h, gain):
        stripes = zip(h.chunk(3, -1), gain[order].chunk(3))
        return torch.cat([rms(stripe, g, 1e-6) for stripe, g in stripes], -1)

    for attend, turn, widen in zip(made.steps[::3], made.steps[1::3], made.steps[2::3]):
        back = torch.argsort(order)  # parts read channels in our order
        y = attend.part(normed(h, attend.rule.norm.gain)[..., back])[0][..., order]
        h, turned = h + y, []
        for i, stripe in enumerate(h.chunk(3, -1)):
            cos, sin = ((turn.part.theta + 2 * pi * i / 3).cos(), (turn.part.theta + 2 * pi * i / 3).sin())
            a, b = stripe[..., ::2], stripe[..., 1::2]
            turned.append(torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2))
        h = torch.cat(turned, -1)
        up, gate = widen.part.up.weight[:, order].chunk(2)[::-1]
        read = normed(h, widen.rule.norm.gain)
        h = h + (silu(read @ gate.T) * (read @ up.T)) @ widen.part.down.weight[order].T
    said = normed(h, made.head.norm.gain) @ made.head.table[:, order].T
    assert gap(made(x).logits, said) < 1e-9


@torch.no_grad()
def test_groups_of_one_axis_are_norms_of_their_own():
    made = shake(by.make("norm:group_rms", dim=24, groups=3).double())
    x = normal(2, 5, 24)
    each = [rms(stripe, gain) for stripe, gain in zip(x.chunk(3, -1), made.gain.chunk(3))]
    assert gap(made(x), torch.cat(each, -1)) < 1e-12
    assert gap(by.make("norm:group_rms", dim=24).double()(x), by.make("norm:rms", dim=24).double()(x)) < 1e-12


@pytest.mark.parametrize("settings", [dict(heads=4), dict(kv_heads=2), dict(heads=4, kv_heads=2)], ids=str)
def test_heads_that_stripes_do_not_share_evenly_are_refused(settings):
    with pytest.raises(by.UsageError, match="must be the same number for each of 3 stripes"):
        system(**settings)


def test_widths_that_stripes_do_not_divide_are_refused():
    with pytest.raises(by.UsageError, match="groups=5 does not divide 24"):
        by.make("norm:group_rms", dim=24, groups=5)
    with pytest.raises(by.UsageError, match=r"2 \* stripes=6 does not divide 20"):
        by.make("channel:rotate", dim=20, stripes=3)


def test_what_turns_is_not_narrowed():
    with pytest.raises(by.UsageError, match="its channels turn in pairs"):
        by.take(by.build(system()), "stream", range(12))
