"""Tokens that count and that none may read: they keep their place, their prediction and their loss."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import objective
from blockyard.train.loop import build_objective

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
SHOWN = torch.ones(2, 9, dtype=torch.bool)
SHOWN[0, 3] = SHOWN[1, 5] = SHOWN[1, 6] = False


def other_at_hidden():
    return torch.where(SHOWN, IDS, (IDS + 1) % 256)


@torch.no_grad()
@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_none_reads_it_and_it_keeps_its_place(position):
    model = by.build("llama", "tiny", **{"mixer.position": position}).double()
    said, changed = (model(by.Batch(ids, readable=SHOWN)).logits for ids in (IDS, other_at_hidden()))
    assert torch.equal(said[SHOWN], changed[SHOWN]) and not torch.equal(said[~SHOWN], changed[~SHOWN])
    assert not torch.equal(model(IDS).logits[SHOWN], model(other_at_hidden()).logits[SHOWN])
    uncounted = model(by.Batch(IDS, valid=SHOWN)).logits
    behind = SHOWN & (torch.arange(9) > 6)
    assert (uncounted[behind] - said[behind]).abs().max() > 1e-6, "what does not count moves what stands behind it"
    assert torch.equal(model(by.Batch(IDS, readable=torch.ones_like(SHOWN))).logits, model(IDS).logits)


@torch.no_grad()
def test_its_column_of_weights_is_empty():
    model = by.build("llama", "tiny")
    weights = model(by.Batch(IDS, readable=SHOWN), points={"*:weights": "read"}).captures
    for found in weights.values():
        columns = found.amax(1).permute(0, 2, 1)  # (B,S,T)
        assert not bool(columns[~SHOWN].any()) and bool((columns[SHOWN].amax(-1) > 0).all())


def test_it_is_asked_as_all_others():
    model = by.build("llama", "tiny")
    asks = build_objective(objective("next_token"), model)
    ((total, count, _),) = asks(model, by.Batch(IDS, readable=SHOWN)).values()
    assert int(count) == 2 * 8 and bool(total.isfinite())


@torch.no_grad()
def test_packed_rows_are_what_each_is_alone():
    model, segment = by.build("llama", "tiny").double(), torch.tensor([[0] * 4 + [1] * 5, [0] * 6 + [1] * 3])
    batch = by.Batch(IDS, segment=segment, readable=SHOWN)
    packed, apart = model(batch).logits, batch.unpacked()
    alone = model(apart).logits
    assert torch.allclose(packed[segment >= 0], alone[apart.valid], atol=1e-10)
    assert torch.equal(batch.rows(slice(1, 2)).readable, SHOWN[1:])


def test_what_cannot_leave_a_token_out_refuses():
    batch = by.Batch(IDS, readable=SHOWN)
    with pytest.raises(by.UsageError, match="a batch in which some tokens are read by none"):
        by.build("gla", "tiny")(batch)
    model = by.build("llama", "tiny")
    with pytest.raises(by.UsageError, match="a state keeps every token readable"):
        model(batch, model.init_state(2))


def test_a_question_is_said_by_targets_of_tokens():
    with pytest.raises(by.UsageError, match=r"by targets of tokens \(2, 9\), not by targets \(2,\)"):
        by.Batch(IDS, torch.zeros(2)).before_targets()
    with pytest.raises(by.UsageError, match="not by none"):
        by.Batch(IDS).before_targets()
