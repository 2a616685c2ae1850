"""One definition of a segment: a run of equal ids among the tokens that count, for every part, row and loss."""

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.visible import visibility
from blockyard.model.claims import feed
from blockyard.model.model import make
from tests.asked import batch, gap, promising

IDS = torch.tensor([[0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 2, 2, 2, 0]])  # 0 and 1 come back
RUNS = ((0, 3), (3, 5), (5, 9), (9, 10), (10, 13), (13, 14))
NAMES = [n for n, e in registry.entries("mixer").items() if e.constant("claims").get("packs")]


def ids(rows=1, length=14, seed=0):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(seed))


def tiny(name):
    return by.build(name, "tiny").double()


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_mixer_keeps_apart_segments_whose_id_comes_back(name):
    part = make(f"mixer:{name}", dim=32).double()
    x = torch.randn(1, 14, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    packed, _ = feed(part, x, segment=IDS)
    for first, last in RUNS:
        assert (packed[:, first:last] - feed(part, x[:, first:last])[0]).abs().max() < 1e-9, (first, last)


@torch.no_grad()
@pytest.mark.parametrize("name", promising("packs"))
def test_a_model_gives_every_run_what_it_gets_alone(name):
    model = tiny(name)
    x = batch(model, 1, 14).tokens
    packed, rows = model(Batch(x, segment=IDS)), Batch(x, segment=IDS).unpacked()
    out = model(rows)
    for row, (first, last) in enumerate(RUNS):
        assert torch.equal(rows.tokens[row, : last - first], x[0, first:last])
        for said, alone in model(x[:, first:last]).prediction.items():
            assert (packed.prediction[said][:, first:last] - alone).abs().max() < 1e-9
            assert (out.prediction[said][row : row + 1, : last - first] - alone).abs().max() < 1e-9


@torch.no_grad()
@pytest.mark.parametrize("name", promising("packs", "streams"))
def test_a_model_goes_on_with_every_run(name):
    model = tiny(name)
    rows = Batch(batch(model, 1, 14).tokens, segment=IDS).unpacked()
    whole, out = model(rows), model(rows, model.init_state(len(RUNS)))
    assert out.state.length.tolist() == [last - first for first, last in RUNS]
    assert gap(out, whole, lambda said: said[rows.valid]) < 1e-9
    state, pieces = model.init_state(len(RUNS)), []
    for start, end in ((0, 1), (1, 3), (3, 4)):
        piece = model(Batch(rows.tokens[:, start:end], valid=rows.valid[:, start:end]), state)
        state = piece.state
        pieces.append(piece.prediction)
    for said, value in whole.prediction.items():
        assert (torch.cat([piece[said] for piece in pieces], 1) - value)[rows.valid].abs().max() < 1e-9


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gla", "mamba2", "deltanet"])
def test_the_id_of_a_token_that_does_not_count_means_nothing(name):
    model, x = tiny(name), ids()
    valid = torch.ones_like(IDS, dtype=torch.bool)
    valid[0, [0, 1, 6, 7, 10, 13]] = False
    noise = torch.where(valid, IDS, torch.tensor([[9, 8, 0, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 5]]))
    for segment in (IDS, noise):
        batch = Batch(x, valid=valid, segment=segment)
        packed, reset = model(batch).logits, batch.resets()
        assert reset is not None and reset.nonzero()[:, 1].tolist() == [3, 5, 9, 11]
        for first, last in RUNS[:-1]:
            inside = [t for t in range(first, last) if valid[0, t]]
            assert (packed[:, inside] - model(x[:, inside]).logits).abs().max() < 1e-9
        assert torch.equal(batch.unpacked().valid.sum(1), torch.tensor([1, 2, 2, 1, 2]))


def test_no_target_lies_in_another_segment():
    x = ids()
    part = make("objective:next_token", dim=8)
    targets = part.targets(Batch(x, segment=IDS))
    ends = [last - 1 for _, last in RUNS]
    assert (targets[0, ends] == -1).all() and part.counts(Batch(x, segment=IDS))["next_token"] == 14 - len(RUNS)
    lone = Batch(x[:, :1], segment=IDS[:, :1])
    assert lone.resets().shape == (1, 1) and part.targets(lone).tolist() == [[-1]]


@torch.no_grad()
@pytest.mark.parametrize("name,settings", [("attention", {"position": None}), ("gla", {}), ("short_conv", {})])
def test_regrouped_tokens_see_only_their_own_row_and_segment(name, settings):
    part = make(f"mixer:{name}", dim=32, **settings).double()
    x = torch.randn(2, 14, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    segment = IDS.expand(2, 14)
    call, _ = Batch(x[..., 0], segment=segment).call(None, causal=True)
    index = torch.tensor([[0, 2, 4, -1, 5, 8, 14, 15], [13, -1, 14 + 13, 14 + 2, 14 + 5, 14 + 6, 9, -1]])
    alike = ([[0, 1], [2], [4, 5], [6, 7]], [[0], [2], [3], [4, 5], [6]])
    y, _ = part(x.flatten(0, 1)[index.clamp(min=0)], call.regroup(index), None)
    for row, groups in enumerate(alike):
        for group in groups:
            alone, _ = part(x.flatten(0, 1)[index[row, group]][None])
            assert (y[row, group] - alone[0]).abs().max() < 1e-9, (row, group)


def test_a_batch_that_is_not_packed_takes_the_short_way():
    call, _ = Batch(ids(2)).call(None, causal=True)
    assert call.aligned and call.reset is None and call.segment is None
    assert visibility(call).mask is None and visibility(call).causal
