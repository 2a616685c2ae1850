"""What must hold of BERT rebuilt for speed, by the numbers of its card."""

import pytest
import torch
from system_cases import gap, model, tokens

import blockyard as by
from blockyard.core.random import uniform
from blockyard.core.spec import Spec
from blockyard.train.loop import build_objective

SIZE = dict(dim=24, layers=2, heads=6, vocab=33)  # six heads: their slopes interleave


def built(**changed):
    return model("mosaicbert", **SIZE | changed)


@torch.no_grad()
def test_packed_equals_padded_equals_alone():
    """(1) on the tokens that count, for documents of any length."""
    made, x = built(), tokens(1, 30, 32)
    lengths = [11, 1, 18]
    packed = made(by.Batch(x, segment=torch.arange(3).repeat_interleave(torch.tensor(lengths))[None])).logits[0]
    padded = torch.nn.utils.rnn.pad_sequence(x[0].split(lengths), batch_first=True, padding_value=5)
    valid = torch.arange(18) < torch.tensor(lengths)[:, None]
    apart = made(by.Batch(padded, valid=valid)).logits
    assert gap(packed, apart[valid]) < 1e-10
    for piece, document in zip(packed.split(lengths), x[0].split(lengths)):
        assert gap(piece, made(document[None]).logits[0]) < 1e-10


@torch.no_grad()
def test_the_head_and_the_last_channel_of_some_tokens_are_a_gather_of_those_of_all():
    """(2) what stands behind the last attention runs on the asked tokens alone."""
    made, x = built(), tokens(2, 20, 32)
    whole, index = made(x).logits, torch.tensor([[0, 7, 19, 20, 33]])
    wanted = whole.flatten(0, 1)[index]
    flow = made.run(made.start(x), range(3))
    assert gap(made.finish(made.run(flow, [3]).only(index)).logits, wanted) < 1e-12
    last = flow.only(index)
    last = made.run(last, [3])
    assert gap(made.finish(last).logits, wanted) < 1e-12


def test_the_bias_is_symmetric_zero_at_home_and_falls_with_the_distance():
    """(3) Toeplitz; eight heads have slopes from 1/2 to 1/256; twelve those of eight and every other one of sixteen."""

    def bias(heads, slopes="interleaved"):
        alibi = Spec.of("position", "alibi", dict(slopes=slopes))
        return by.make(
            "mixer:attention", dim=4 * heads, heads=heads, causal=False, position=alibi
        ).position.by_distance(9)

    eight, twelve = bias(8), bias(12)
    for table in (eight, twelve):
        assert torch.equal(table, table.flip(1)) and not table[:, 8].any()
        assert torch.allclose(table[:, 8:], table[:, 9:10] * torch.arange(9))
    assert eight[:, 9].tolist() == [-(2.0**-h) for h in range(1, 9)]
    more = [2.0 ** (-h / 2) for h in range(1, 9, 2)]
    assert twelve[:, 9].tolist() == pytest.approx([*(-(2.0**-h) for h in range(1, 9)), *(-m for m in more)])
    assert bias(12, "plain")[:, 9].tolist() == pytest.approx([-(2.0 ** (-8 * h / 12)) for h in range(1, 13)])


@torch.no_grad()
def test_a_reversed_text_has_reversed_predictions():
    """(4) nothing but the distance tells where a token stands; the learned positions of BERT tell more."""
    x = tokens(2, 17, 32)
    made = built()
    assert gap(made(x.flip(1)).logits, made(x).logits.flip(1)) < 1e-12
    bert = model("bert", dim=24, layers=2, heads=6, vocab=33, length=32)
    assert gap(bert(x.flip(1)).logits, bert(x).logits.flip(1)) > 1e-3


def test_three_tenths_are_masked_and_no_special_token_is():
    """(5) 30% within 0.5%; of those 80% masks, 10% others, 10% as they were; none where the target says no; no target
    elsewhere."""
    spec = by.spec("mosaicbert", **SIZE)
    teach = build_objective(spec["program"][0]["objective"], by.build(spec))
    x = tokens(1000, 64, 32)
    special = torch.zeros_like(x, dtype=torch.bool)
    special[:, 0] = special[:, -1] = True
    given = by.Batch(x, x.masked_fill(special, -1))
    batch = teach.prepare(given, lambda name, shape: uniform(("card", name), shape, "cpu"))
    asked = batch.targets >= 0
    assert not asked[special].any() and torch.equal(batch.tokens[~asked], x[~asked])
    assert abs(asked[~special].double().mean() - 0.3) < 0.005
    shown, was = batch.tokens[asked], x[asked]
    assert abs((shown == 32).double().mean() - 0.8) < 0.01 and abs((shown == was).double().mean() - 0.1) < 0.01
    assert torch.equal(batch.targets[asked], was) and (batch.targets[~asked] == -1).all()


@torch.no_grad()
def test_without_slopes_it_reads_a_bag_of_words():
    """(6) permuted tokens have permuted predictions where every slope is zero, and not otherwise."""
    made, x = built(), tokens(2, 17, 32)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(2))
    assert gap(made(x[:, order]).logits, made(x).logits[:, order]) > 1e-3
    for step in made.steps[::2]:
        step.part.position.by_distance = lambda n: torch.zeros(6, 2 * n - 1)
    assert gap(made(x[:, order]).logits, made(x).logits[:, order]) < 1e-12


def test_the_channel_has_no_bias_where_it_widens_and_one_where_it_narrows():
    made = built()
    assert made.steps[1].part.up.bias is None and made.steps[1].part.down.bias is not None
    assert made.steps[0].part.qkv.bias is not None and made.stem.position is None
