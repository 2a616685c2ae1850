"""The rules of choosing: what they keep, what they refuse, and that choosing follows them."""

from copy import deepcopy
from itertools import product

import pytest
import torch
from decode_cases import ids, tiny

from blockyard.core.errors import UsageError
from blockyard.decode.beams import beams
from blockyard.decode.generate import generate
from blockyard.decode.rules import LEAST, Draws, SamplingParams, choose, penalised, pick, probabilities
from blockyard.decode.speculate import speculate
from blockyard.decoder import PromptLookup

NAN, INF = float("nan"), float("inf")
LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, 1.0]])


def kept(**rules):
    return (probabilities(LOGITS, SamplingParams(**rules))[0] > 0).nonzero()[:, 0].tolist()


def test_what_is_cut():
    full = LOGITS.double().softmax(-1)
    assert torch.allclose(probabilities(LOGITS, SamplingParams()), full)
    assert torch.allclose(probabilities(LOGITS, SamplingParams(temperature=0.5)), (2 * LOGITS.double()).softmax(-1))
    assert kept(top_k=1) == [0] and kept(top_k=2) == [0, 1] and kept(top_k=99) == [0, 1, 2, 3, 4]
    assert kept(top_p=1e-9) == [0] and kept(top_p=float(full[0, 0]) + 1e-6) == [0, 1]
    assert kept(min_p=float(full[0, 1] / full[0, 0]) - 1e-9) == [0, 1, 4] and kept(min_p=1.0) == [0]
    assert kept(temperature=0) == [0]
    cut = probabilities(LOGITS, SamplingParams(top_k=3, top_p=0.9, min_p=0.1))
    assert torch.allclose(cut.sum(-1), torch.ones(1).double())


def test_repetition_makes_what_was_seen_less_likely():
    seen = torch.tensor([[True, False, False, True, False]])
    assert penalised(LOGITS, SamplingParams(repetition_penalty=2.0), seen).tolist() == [[1.0, 1.0, 0.0, -2.0, 1.0]]
    assert torch.equal(penalised(LOGITS, SamplingParams(), seen), LOGITS)
    assert int(choose(LOGITS, None, SamplingParams(temperature=0, repetition_penalty=3.0), seen)) == 1


def test_choosing_follows_the_probabilities():
    rules = SamplingParams(temperature=0.8, top_p=0.9)
    draw = torch.linspace(0, 1, 10001)[:-1]
    found = choose(LOGITS.expand(len(draw), -1), draw, rules).bincount(minlength=5) / len(draw)
    assert (found - probabilities(LOGITS, rules)[0]).abs().max() < 2e-4
    holes = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).expand(3, -1)
    assert pick(holes, torch.tensor([0.0, 0.5, 0.99999994])).tolist() == [1, 3, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_ends_of_all_ranges_give_probabilities(dtype, scale):
    """And the likeliest token at the cold end, each alike at the hot one."""
    logits, seen = (LOGITS * scale).to(dtype), torch.tensor([[True, True, False, False, True]])
    for temperature, repetition in product((LEAST, 1.0, 1 / LEAST), repeat=2):
        for cut in (dict(), dict(top_k=10**30), dict(top_p=5e-324), dict(min_p=1.0)):
            p = probabilities(
                logits, SamplingParams(temperature=temperature, repetition_penalty=repetition, **cut), seen
            )
            assert torch.isfinite(p).all() and abs(float(p.sum()) - 1) < 1e-9
    assert int(choose(LOGITS, torch.tensor([0.999]), SamplingParams(temperature=LEAST))) == 0
    assert torch.allclose(
        probabilities(LOGITS, SamplingParams(temperature=1 / LEAST)), torch.full((1, 5), 0.2).double(), atol=1e-5
    )


def test_numbers_know_seed_row_and_position_only():
    draws = [Draws("x", SamplingParams(seed=s), [7, 9], torch.device("cpu")) for s in (0, 0, 1)]
    pairs = [(row, at) for row in (0, 1) for at in (0, 255, 256, 1000)]
    some = [[d.number(*pair) for pair in pairs] for d in draws]
    assert some[0] == [draws[1].number(*pair) for pair in pairs] and not set(some[0]) & set(some[2])
    assert len(set(some[0])) == len(pairs)
    assert draws[0]([1], [256]).tolist() == [draws[0].number(1, 256)]
    assert Draws("x", SamplingParams(temperature=0), [0], torch.device("cpu"))([0], [0]) is None


@pytest.mark.parametrize("bad", [
    dict(temperature=-1.0), dict(temperature=float("nan")), dict(top_k=0), dict(top_p=0.0), dict(top_p=1.1),
    dict(min_p=-0.1), dict(min_p=2.0), dict(repetition_penalty=0.0),
    *({name: value} for name in ("temperature", "repetition_penalty") for value in (1e-310, 1e-300, 1e300, INF, "1")),
    *({name: value} for name in ("top_p", "min_p", "repetition_penalty") for value in (NAN, INF, -INF, -1.0, None)),
    dict(top_k=-1), dict(top_k=2.5), dict(top_k=NAN), dict(top_k=True), dict(seed=0.5), dict(seed=None),
])  # fmt: skip
def test_wrong_rules_are_named_in_a_line(bad):
    with pytest.raises(UsageError, match=next(iter(bad))) as error:
        SamplingParams(**bad)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("broken", [NAN, INF])
def test_a_model_whose_predictions_are_no_numbers_writes_nothing(broken):
    model, x = deepcopy(tiny("gla")), ids(1, 6)
    model.steps[1].part.down.weight.data[0, 0] = broken
    for rules in (SamplingParams(temperature=0), SamplingParams(), SamplingParams(top_k=3, repetition_penalty=1.2)):
        for write in (generate, lambda *given: speculate(*given[:3], PromptLookup(), given[3])):
            with pytest.raises(UsageError, match="not numbers"):
                next(iter(write(model, x, 5, rules)))
    with pytest.raises(UsageError, match="not numbers"):
        beams(model, x, 5)


def test_counts_are_ranged():
    model, x = tiny("gla"), ids(1, 6)
    for bad in (-1, 2.5, NAN, INF, True):
        calls = [lambda n: generate(model, x, n), lambda n: generate(model, x, 3, chunk=n)]
        calls += [
            lambda n: speculate(model, x, 3, PromptLookup(), num_speculative=n),
            lambda n: beams(model, x, 3, width=n),
        ]
        for call in (*calls, lambda n: beams(model, x, n)):
            with pytest.raises(UsageError, match="whole number of at least"):
                call(bad)
    for call in (
        lambda: beams(model, x, 3, width=10**22),
        lambda: speculate(model, x, 3, PromptLookup(), num_speculative=10**22),
    ):
        with pytest.raises(UsageError, match="at most"):
            call()
    for call in (lambda: beams(model, x, 3, power=NAN), lambda: speculate(model, x, 3, PromptLookup(), tolerance=NAN)):
        with pytest.raises(UsageError, match="at least 0"):
            call()
