"""Beam search against exhaustive search, and its own rules."""

from itertools import product

import pytest
import torch
from decode_cases import ids, tiny, written

from blockyard.core.errors import UsageError
from blockyard.decode.beams import beams
from blockyard.decode.generate import generate
from blockyard.decode.rules import SamplingParams

VOCAB = {"stem__vocab": 4}


@torch.no_grad()
def exhaustive(model, x, tokens, power, stop):
    """Every continuation that ends with its first stop or is as long as allowed, by score."""
    found = {}
    for line in product(range(4), repeat=tokens):
        end = next((i + 1 for i, token in enumerate(line) if token in stop), tokens)
        found[line[:end]] = None
    for line in found:
        whole = torch.cat([x[0], torch.tensor(line)])
        p = model(whole[None]).logits[0, len(x[0]) - 1 : -1].log_softmax(-1)
        total = float(p.gather(-1, torch.tensor(line)[:, None]).sum())
        found[line] = total / len(line) ** power
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("name", ["llama", "mamba2_hybrid"])
@pytest.mark.parametrize("power, stop", [(1.0, (2,)), (0.0, (1,)), (0.6, ()), (2.0, (0, 3))])
def test_a_wide_search_is_exhaustive(name, power, stop):
    model, x = tiny(name, noise=0.3, **VOCAB), ids(1, 6, vocab=4)
    truth = exhaustive(model, x, 4, power, stop)
    found = beams(model, x, 4, width=64, power=power, stop=stop)
    assert len(found) == min(64, len(truth))
    for beam, (line, score) in zip(found, truth):
        assert tuple(beam.tokens) == line and abs(beam.score - score) < 1e-9


def test_a_narrow_search_finds_no_more_than_there_is_and_width_one_is_greedy():
    model, x = tiny("llama", noise=0.3, **VOCAB), ids(1, 6, vocab=4)
    truth = dict(exhaustive(model, x, 5, 1.0, (2,)))
    for width in (2, 3):
        found = beams(model, x, 5, width=width, stop=[2])
        assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)
        assert all(abs(truth[tuple(beam.tokens)] - beam.score) < 1e-9 for beam in found)
    greedy = written(generate(model, x, 12, SamplingParams(temperature=0)))[0].tolist()
    assert beams(model, x, 12, width=1)[0].tokens == greedy


def test_wrong_requests():
    model, x = tiny("llama", noise=0.3, **VOCAB), ids(2, 6, vocab=4)
    for call in (
        lambda: beams(model, x, 3),
        lambda: beams(model, x[:1], 3, width=0),
        lambda: beams(model, x[:1], 3, power=-1),
        lambda: beams(model, x[:1], 3, stop=[4]),
    ):
        with pytest.raises(UsageError):
            call()
