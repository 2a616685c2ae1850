"""Speculation loses nothing: the same tokens where nothing is drawn, the same distribution where it is."""

from itertools import product

import pytest
import torch
from decode_cases import NAMES, RECIPES, ids, model_of, ragged, reaching, tiny, wide, written
from scipy.stats import chi2

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.decode import generate as generating
from blockyard.decode import past
from blockyard.decode import speculate as module
from blockyard.decode.generate import generate
from blockyard.decode.propose import Proposal
from blockyard.decode.rules import SamplingParams, probabilities
from blockyard.decode.speculate import Counts, speculate
from blockyard.decoder import Draft, PromptLookup, SelfSpeculative
from tests.cover import each

GREEDY = SamplingParams(temperature=0)


class Chance:
    """Guesses that hold about half of the time, so that every kind of taking back occurs."""

    needs_state = False

    def __init__(self, truth):
        self.truth, self.draw = truth, torch.Generator().manual_seed(1)

    def begin(self, rows): ...

    def select(self, lines): ...

    def propose(self, rows, wanted):
        found = []
        for row, held, n in zip(rows.numbers, rows.ids, wanted):
            right = self.truth[row][len(held) : len(held) + n]
            flips = torch.rand(len(right), generator=self.draw) < 0.25
            found.append([(t + 1) % 256 if flip else t for t, flip in zip(right, flips.tolist())])
        return Proposal(found)


def proposers(model, name):
    other = tiny("gla" if name != "gla" else "llama", seed=9)
    steps = [s for s in range(len(model.steps)) if s != 1]
    return [PromptLookup(), Draft(other), Draft(model), SelfSpeculative(steps), SelfSpeculative([])]


@pytest.mark.parametrize("name", each(NAMES, 3))
def test_the_likeliest_tokens_are_those_of_plain_decoding(name):
    model, x = model_of(name), ids(1, 12)
    plain = written(generate(model, x, 36, GREEDY))
    truth = [[*x[0].tolist(), *plain[0].tolist()]]
    for proposer in [*proposers(model, name), Chance(truth)]:
        counts = Counts()
        assert torch.equal(written(speculate(model, x, 36, proposer, num_speculative=5, counts=counts)), plain)
        assert counts.tokens == 36 and counts.ties == 0 and counts.proposed >= counts.accepted
        if isinstance(proposer, Draft) and proposer.model is model:
            assert counts.accepted == counts.proposed and counts.forwards == 6
        if isinstance(proposer, Chance):
            assert 0 < counts.accepted < counts.proposed and counts.forwards < 30


@pytest.mark.parametrize("name", each(NAMES, 3))
def test_rows_of_any_length_and_speed(name, monkeypatch):
    monkeypatch.setattr(past, "REFEED", 4)  # so that it happens here
    model, rows = model_of(name), ragged(3, 17, 9)
    for rules in (GREEDY, SamplingParams(seed=5, repetition_penalty=1.2, top_k=40)):
        plain = written(generate(model, rows, 16, rules))
        truth = [[*row.tolist(), *line] for row, line in zip(rows, plain.tolist())]
        for proposer in (Chance(truth), Draft(tiny("llama", seed=9), likeliest=True)):
            assert torch.equal(written(speculate(model, rows, 16, proposer, rules)), plain)


@pytest.mark.parametrize("name", ["llama", "olmo_hybrid", "mamba2_hybrid", "windowed", "looped"])
def test_steps_are_left_out_for_rows_of_any_length(name):
    """A cache that a step left out did not grow is not read in the places of those that did."""
    model, rows = model_of(name), ragged(3, 17, 9)
    plain = written(generate(model, rows, 16, GREEDY))
    for out in range(len(model.steps)):
        proposer = SelfSpeculative([step for step in range(len(model.steps)) if step != out])
        assert torch.equal(written(speculate(model, rows, 16, proposer)), plain)


@pytest.mark.parametrize("name", ["llama", "olmo_hybrid", "mamba"])
def test_without_drawing_a_seed_writes_the_same(name):
    model, x, rules = tiny(name), ids(2, 9), SamplingParams(temperature=0.9, top_p=0.95, repetition_penalty=1.1, seed=8)
    plain = written(generate(model, x, 24, rules, seeds=[3, 1]))
    for proposer in (PromptLookup(), Draft(model, likeliest=True), SelfSpeculative([0], likeliest=True)):
        assert torch.equal(written(speculate(model, x, 24, proposer, rules, seeds=[3, 1])), plain)


@pytest.mark.parametrize("name", ["gla", "olmo_hybrid"])
def test_stops_are_those_of_plain_decoding(name):
    def text_of(ids):
        return bytes(ids).decode("latin-1")

    model, rows, rules = tiny(name), ragged(4, 9, 6), SamplingParams(seed=2)
    free = written(generate(model, rows, 30, rules))
    how = dict(stop=(int(free[0, 3]), text_of(free[1, 10:12].tolist())), decode=text_of)
    plain = list(generate(model, rows, 30, rules, **how))
    fast = list(speculate(model, rows, 30, Draft(model, likeliest=True), rules, **how))
    assert len(plain) == len(fast)
    for a, b in zip(plain, fast):
        assert torch.equal(a.tokens, b.tokens) and torch.equal(a.finished, b.finished) and a.text == b.text
        assert (a.logprobs - b.logprobs).abs().max() < 1e-9


@torch.no_grad()
@pytest.mark.parametrize("kind", ["draft", pytest.param("skip", marks=pytest.mark.slow), "lookup"])
@pytest.mark.parametrize("name", each(["llama", "mamba2_hybrid"]))
def test_drawn_tokens_have_the_distribution_of_plain_decoding(name, kind):
    """A chi-square test over all sequences of four tokens, at 1e-4, that a broken verifier fails (see below)."""
    model, found, held = _drawn(name, kind)
    assert 0.1 < held < 0.95
    assert _statistic(model, found) < chi2.ppf(1 - 1e-4, 80)


@torch.no_grad()
def test_the_test_of_distribution_catches_a_broken_verifier(monkeypatch):
    def lenient(self, use, *rest):
        plain(self, use, *rest)
        if use == "accept":
            self.number = lambda row, position: 0.0  # takes every guess that is possible at all

    plain = module.Draws.__init__
    monkeypatch.setattr(module.Draws, "__init__", lenient)
    model, found, _ = _drawn("llama", "draft")
    assert _statistic(model, found) > chi2.ppf(1 - 1e-4, 80)


RULES, COUNT = SamplingParams(temperature=4.0, seed=11), 3000
LINES = torch.tensor(list(product(range(3), repeat=4)))


def _drawn(name, kind):
    model = tiny(name, noise=0.3, stem__vocab=3)
    proposer = {
        "draft": Draft(tiny("gla", seed=3, noise=0.3, stem__vocab=3)),
        "skip": SelfSpeculative([0]),
        "lookup": PromptLookup(),
    }
    counts, x = Counts(), ids(1, 6, vocab=3).expand(COUNT, -1)
    found = written(speculate(model, x, 4, proposer[kind], RULES, counts=counts))
    return model, found, counts.accepted / counts.proposed


@torch.no_grad()
def _statistic(model, found):
    """Sum of (observed - expected)^2 / expected over the 81 sequences."""
    logits = model(torch.cat([ids(1, 6, vocab=3).expand(81, -1), LINES], 1)).logits[:, 5:9]
    expected = COUNT * probabilities(logits, RULES).gather(-1, LINES[..., None])[..., 0].prod(1)
    observed = (found @ torch.tensor([27, 9, 3, 1])).bincount(minlength=81)
    assert expected.min() > 1
    return float(((observed - expected) ** 2 / expected).sum())


def test_a_tie_is_decided_as_plain_decoding_decides_it():
    model, x = tiny("olmo_hybrid", dtype=torch.float32), ids(1, 12)
    plain = written(generate(model, x, 30, GREEDY))
    counts = Counts()
    fast = written(speculate(model, x, 30, Draft(model), tolerance=10.0, counts=counts))  # everything is a tie
    assert torch.equal(fast, plain) and counts.ties == 29 and counts.replayed == 29
    truth = [[*x[0].tolist(), *plain[0].tolist()]]
    assert torch.equal(written(speculate(model, x, 30, Chance(truth), tolerance=10.0)), plain)


@pytest.mark.parametrize("name", each([name for name in NAMES if name != "windowed"], 5))
def test_single_precision_writes_the_same_too(name):
    model = tiny(name, dtype=torch.float32)
    for seed in range(3):
        x, counts = ids(1, 12, seed), Counts()
        plain = written(generate(model, x, 40, GREEDY))
        truth = [[*x[0].tolist(), *plain[0].tolist()]]
        assert torch.equal(written(speculate(model, x, 40, Chance(truth), counts=counts)), plain)
        assert counts.ties <= 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", each(RECIPES, 3))
def test_in_a_program_the_tokens_come_out_by_themselves(name, dtype, monkeypatch):
    """In half precision everything would be a tie."""

    class Seen(past.OnProgram):
        def __init__(self, program):
            super().__init__(program)
            programs.append(program)

    monkeypatch.setattr(generating, "WORTH", (0, 0))
    monkeypatch.setattr(module, "OnProgram", Seen)
    model, programs = wide(name).to(dtype), []
    for rows, rules in product(
        [ragged(9), ragged(3, 12, 7)], (GREEDY, SamplingParams(temperature=0.8, repetition_penalty=1.1, seed=3))
    ):
        plain = written(generate(model, rows, 40, rules))
        truth = [[*row.tolist(), *line] for row, line in zip(rows, plain.tolist())]
        for proposer in (Chance(truth), PromptLookup()):
            counts = Counts()
            assert torch.equal(written(speculate(model, rows, 40, proposer, rules, counts=counts)), plain)
            assert counts.ties == 0 and (counts.accepted > 5 or isinstance(proposer, PromptLookup))
    assert len(programs) == 8


@pytest.mark.parametrize("worth", [(0, 0), (1 << 60, 0)], ids=["on_program", "on_state"])
@pytest.mark.parametrize("name", ["llama", "gated_deltanet", "mamba2_hybrid"])
def test_guesses_are_checked_where_plain_decoding_decodes(name, worth, monkeypatch):
    """Packed matrices round otherwise as a program, by few tokens and by many: whoever reads, the choices are those."""
    monkeypatch.setattr(generating, "WORTH", worth)
    rows, steps = ragged(9, 3, 12), 24
    for dtype, bits in ((torch.float32, 4), (torch.bfloat16, None)):
        model = wide(name).to(dtype) if bits is None else by.quantise(wide(name), bits=bits)[0]
        plain = written(generate(model, rows, steps, GREEDY))
        truth = [[*row.tolist(), *line] for row, line in zip(rows, plain.tolist())]
        for proposer in (Chance(truth), SelfSpeculative(range(2, len(model.steps)))):
            if dtype == torch.float32 or worth == (0, 0):  # rows together and alone differ in half precision
                assert torch.equal(written(speculate(model, rows, steps, proposer)), plain)


def test_wrong_requests():
    model, x = tiny("llama"), ids(1, 6)
    other = tiny("gla", seed=3, noise=0.3, stem__vocab=4)
    for call, words in [
        (lambda: speculate(model, x, 3, PromptLookup(), num_speculative=0), "num_speculative"),
        (lambda: speculate(model, x, 3, PromptLookup(), tolerance=-1.0), "tolerance"),
        (lambda: list(speculate(model, x, 3, SelfSpeculative([99]))), "steps go from 0"),
        (lambda: PromptLookup(2, 3), "shortest"),
        (lambda: list(speculate(other, x % 4, 5, Draft(model))), "vocabulary"),
        (lambda: list(speculate(model, x, 5, Draft(other), SamplingParams())), "vocabulary"),
    ]:
        with pytest.raises(UsageError, match=words):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_thousand_tokens(name):
    model, x = model_of(name, **reaching(name, 2100)), ids(1, 12)
    plain = written(generate(model, x, 2000, GREEDY))
    truth = [[*x[0].tolist(), *plain[0].tolist()]]
    for proposer in (PromptLookup(), SelfSpeculative([0]), Chance(truth)):
        assert torch.equal(written(speculate(model, x, 2000, proposer)), plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_thousand_tokens_in_a_program(name, monkeypatch):
    monkeypatch.setattr(generating, "WORTH", (0, 0))
    model, x = wide(name, **reaching(name, 2100)).bfloat16(), ids(1, 12)
    plain = written(generate(model, x, 2000, GREEDY))
    truth = [[*x[0].tolist(), *plain[0].tolist()]]
    for proposer in (PromptLookup(), Chance(truth)):
        counts = Counts()
        assert torch.equal(written(speculate(model, x, 2000, proposer, counts=counts)), plain)
        assert counts.ties == 0
