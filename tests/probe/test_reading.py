"""The probes of copying and recall: models whose answers are known, and real ones that are left as they were."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.probe import copying_probe, recall_probe

VOCAB = 40
SURE = 9.0


class Known(torch.nn.Module):
    """Says `rule(tokens)`, (B,T) the likeliest next id, with a logit of SURE and 0 for the rest; -1: no idea."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, tokens):
        guess = self.rule(tokens)
        logits = torch.nn.functional.one_hot(guess.clamp(min=0), VOCAB) * SURE
        return SimpleNamespace(logits=logits.masked_fill((guess < 0)[..., None], 0.0))


def induction(tokens):
    """What followed the last time these two tokens stood here."""
    found = torch.full_like(tokens, -1)
    for row, out in zip(tokens.tolist(), found):
        seen = {}
        for t in range(1, len(row)):
            out[t] = seen.get((row[t - 1], row[t]), -1)
            if t > 1:
                seen[row[t - 2], row[t - 1]] = row[t]
    return found


def nothing(tokens):
    return torch.full_like(tokens, -1)


KNOWS = math.log(math.exp(SURE) + VOCAB - 1) - SURE  # nats of a right answer
BLIND = math.log(VOCAB)


def text(rows=5, length=20):
    order = torch.rand(rows, VOCAB, generator=torch.Generator().manual_seed(2)).argsort(1)
    return order[:, :length]


def test_copying_of_those_who_can_and_cannot():
    found = copying_probe(Known(induction), text(), batch=2)
    assert np.allclose(found["first"] * math.log(2), BLIND)
    # the pair that starts the second reading is complete at its second token
    assert np.allclose(found["by_position"][1, 1:] * math.log(2), KNOWS)
    assert found["by_position"].shape == (2, 19) and (found["gap"] > 4).all()
    assert np.allclose(found["gap"], found["first"] - found["second"])
    assert np.allclose(copying_probe(Known(nothing), text())["gap"], 0)


def test_copying_is_paired_by_token():
    """A model that knows single tokens but never copies has no gap, whatever stands in the text."""
    favourite = Known(lambda tokens: torch.full_like(tokens, 7))
    found = copying_probe(favourite, text(length=VOCAB))
    assert np.allclose(found["gap"], 0) and np.ptp(found["by_position"]) > 1


def test_recall_of_those_who_can_and_cannot():
    found = recall_probe(Known(induction), np.arange(VOCAB), rows=40, batch=7)
    assert found["with"].shape == found["without"].shape == found["distance"].shape == (40,)
    assert np.median(found["with"]) == pytest.approx(2 * KNOWS)
    assert np.median(found["saved"]) == pytest.approx(2 * BLIND - 2 * KNOWS)
    assert np.allclose(recall_probe(Known(nothing), np.arange(VOCAB))["saved"], 0)
    assert set(found["distance"]) <= {4 * i for i in range(8)} and len(set(found["distance"])) > 4


def test_recall_changes_nothing_but_the_pair():
    seen = []
    model = Known(lambda tokens: seen.append(tokens) or nothing(tokens))
    recall_probe(model, np.arange(100, 130) % VOCAB, rows=16, pairs=5, key=3, value=2, seed=4, batch=16)
    shown, other = seen
    assert shown.shape == other.shape == (16, 30)
    for a, b in zip(shown.view(16, 6, 5), other.view(16, 6, 5)):
        changed = (a != b).any(1)
        assert changed.sum() == 1 and torch.equal(a[changed][0], a[5]) and torch.equal(b[5], a[5])
        assert len(set(a[:5, 0].tolist()) | set(b[:5, 0].tolist())) == 6
    again = recall_probe(model, np.arange(VOCAB), seed=1)
    assert all(np.array_equal(v, recall_probe(model, np.arange(VOCAB), seed=1)[k]) for k, v in again.items())
    other = recall_probe(model, np.arange(VOCAB), seed=2)
    assert not np.array_equal(other["distance"], again["distance"])


def test_recall_asks_64_rows_of_8_pairs_where_nothing_is_said():
    plain = recall_probe(Known(induction), np.arange(VOCAB))
    said = recall_probe(Known(induction), np.arange(VOCAB), rows=64, pairs=8, key=2, value=2, seed=0)
    assert plain["with"].shape == (64,) and all(np.array_equal(plain[name], said[name]) for name in said)


def test_recall_needs_kinds_enough():
    with pytest.raises(by.UsageError, match="8 pairs need 9 kinds of ids or more, not 8"):
        recall_probe(Known(nothing), np.arange(8))
    with pytest.raises(by.UsageError, match="sizes from 1"):
        recall_probe(Known(nothing), np.arange(20), value=0)
    with pytest.raises(by.UsageError, match="rows of 2 tokens or more"):
        copying_probe(Known(nothing), text()[0])


@pytest.mark.parametrize("name", ["gla", "llama", "mamba"])
def test_an_untrained_model_neither_copies_nor_recalls(name):
    model = by.build(name, "tiny")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    rows = torch.randint(0, 256, (4, 24), generator=torch.Generator().manual_seed(3))
    copied, recalled = copying_probe(model, rows), recall_probe(model, rows, rows=8, pairs=4)
    assert abs(copied["gap"].mean()) < 1 and abs(recalled["saved"].mean()) < 1
    assert 6 < copied["first"].mean() < 12
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training and all(p.grad is None for p in model.parameters())
