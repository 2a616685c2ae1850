"""The rules of choosing: what they keep, what they refuse, and that choosing follows them."""

import pytest
import torch

from blockyard.core.errors import UsageError
from blockyard.decode.rules import Draws, Rules, choose, penalised, pick, probabilities

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, 1.0]])


def kept(**rules):
    return (probabilities(LOGITS, Rules(**rules))[0] > 0).nonzero()[:, 0].tolist()


def test_what_is_cut():
    full = LOGITS.double().softmax(-1)
    assert torch.allclose(probabilities(LOGITS, Rules()), full)
    assert torch.allclose(probabilities(LOGITS, Rules(temperature=0.5)), (2 * LOGITS.double()).softmax(-1))
    assert kept(top_k=1) == [0] and kept(top_k=2) == [0, 1] and kept(top_k=99) == [0, 1, 2, 3, 4]
    assert kept(top_p=1e-9) == [0] and kept(top_p=float(full[0, 0]) + 1e-6) == [0, 1]
    assert kept(min_p=float(full[0, 1] / full[0, 0]) - 1e-9) == [0, 1, 4] and kept(min_p=1.0) == [0]
    assert kept(temperature=0) == [0]
    cut = probabilities(LOGITS, Rules(top_k=3, top_p=0.9, min_p=0.1))
    assert torch.allclose(cut.sum(-1), torch.ones(1).double())


def test_repetition_makes_what_was_seen_less_likely():
    seen = torch.tensor([[True, False, False, True, False]])
    assert penalised(LOGITS, Rules(repetition=2.0), seen).tolist() == [[1.0, 1.0, 0.0, -2.0, 1.0]]
    assert torch.equal(penalised(LOGITS, Rules(), seen), LOGITS)
    assert int(choose(LOGITS, None, Rules(temperature=0, repetition=3.0), seen)) == 1


def test_choosing_follows_the_probabilities():
    rules = Rules(temperature=0.8, top_p=0.9)
    draw = torch.linspace(0, 1, 10001)[:-1]
    found = choose(LOGITS.expand(len(draw), -1), draw, rules).bincount(minlength=5) / len(draw)
    assert (found - probabilities(LOGITS, rules)[0]).abs().max() < 2e-4
    holes = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).expand(3, -1)
    assert pick(holes, torch.tensor([0.0, 0.5, 0.99999994])).tolist() == [1, 3, 3]


def test_numbers_know_seed_row_and_position_only():
    draws = [Draws("x", Rules(seed=s), [7, 9], torch.device("cpu")) for s in (0, 0, 1)]
    pairs = [(row, at) for row in (0, 1) for at in (0, 255, 256, 1000)]
    some = [[d.number(*pair) for pair in pairs] for d in draws]
    assert some[0] == [draws[1].number(*pair) for pair in pairs] and not set(some[0]) & set(some[2])
    assert len(set(some[0])) == len(pairs)
    assert draws[0]([1], [256]).tolist() == [draws[0].number(1, 256)]
    assert Draws("x", Rules(temperature=0), [0], torch.device("cpu"))([0], [0]) is None


@pytest.mark.parametrize("bad", [
    dict(temperature=-1.0), dict(temperature=float("nan")), dict(top_k=0), dict(top_p=0.0), dict(top_p=1.1),
    dict(min_p=-0.1), dict(min_p=2.0), dict(repetition=0.0),
])  # fmt: skip
def test_wrong_rules_are_named_in_a_line(bad):
    with pytest.raises(UsageError, match=next(iter(bad))) as error:
        Rules(**bad)
    assert "\n" not in str(error.value)
