"""bild: what a small and a large model write together, at the ends of their thresholds and between."""

import math

import pytest
import torch

import blockyard as by
from blockyard.decode import generate as generating
from blockyard.decode.fallback import Calls, fallback
from blockyard.decode.generate import generate
from blockyard.decode.rules import SamplingParams
from blockyard.decode.speculate import speculate
from blockyard.decoder import Draft

GREEDY, TOKENS = SamplingParams(temperature=0), 12
PAIRS = [("gla", "llama"), pytest.param(("llama", "mamba2_hybrid"), marks=pytest.mark.slow)]


def model(name, seed, **settings):
    """A small model whose next token is far from certain, in double precision: nothing ties."""
    made = by.build(name, "tiny", seed=seed, **settings).double().eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return made


@pytest.fixture(scope="module", params=PAIRS)
def pair(request):
    small, large = request.param
    return model(small, 1), model(large, 2)


def prompt(n=9):
    return torch.arange(n) * 7 % 256


def greedy(of, ids, tokens=TOKENS):
    return [int(step.tokens[0]) for step in generate(of, [ids], tokens, GREEDY)]


def written(small, large, ids, tokens=TOKENS, **how):
    calls = Calls()
    steps = list(fallback(small, large, ids[None], tokens, calls=calls, **how))
    return [int(step.tokens[0]) for step in steps], calls


def by_hand(small, large, ids, unsure, rollback, most):
    """The two models without any state, from the rule alone: what they write, and forwards of the large one."""
    ids, began, asked = ids.tolist(), len(ids), 0
    while len(ids) < began + TOKENS:
        draft = []
        while len(draft) < min(most, began + TOKENS - len(ids)):
            p = small(torch.tensor([ids + draft])).logits[0, -1].softmax(-1)
            if float(p.max()) < unsure:
                break
            draft.append(int(p.argmax()))
        p, asked = large(torch.tensor([ids + draft])).logits[0].log_softmax(-1)[len(ids) - 1 :], asked + 1
        held = next((i for i, token in enumerate(draft) if -float(p[i, token]) > rollback), len(draft))
        ids = (ids + draft[:held] + [int(p[held].argmax())])[: began + TOKENS]
    return ids[began:], asked


@torch.no_grad()
def test_1_and_2_a_large_model_that_bears_nothing_or_is_always_asked_writes_alone(pair):
    small, large = pair
    alone = greedy(large, prompt())
    for unsure in (0.0, 0.01, 0.3):
        assert written(small, large, prompt(), unsure=unsure, rollback=0.0)[0] == alone
    told, calls = written(small, large, prompt(), unsure=1.01, rollback=2.0)
    assert told == alone and calls.large == TOKENS and calls.rolled_back == 0


@torch.no_grad()
def test_3_a_small_model_that_is_never_unsure_nor_taken_back_writes_alone(pair):
    small, large = pair
    told, calls = written(small, large, prompt(), unsure=0.0, rollback=math.inf, most=None)
    assert told == greedy(small, prompt()) and calls.large == 0 and calls.small == TOKENS


@torch.no_grad()
def test_4_a_model_beside_itself_writes_what_it_writes(pair):
    _, large = pair
    alone = greedy(large, prompt())
    for unsure, rollback, most in [(0.0, 0.0, 10), (0.02, 3.0, 4), (0.5, 1.0, None), (0.0, 100.0, 3)]:
        assert written(large, large, prompt(), unsure=unsure, rollback=rollback, most=most)[0] == alone


@torch.no_grad()
def test_5_and_6_states_change_nothing_and_every_call_settles_a_token(pair):
    small, large = pair
    kinds = set()
    for unsure, rollback, most in [(0.05, 6.0, 10), (0.0, 5.5, 7), (0.0, 100.0, 3)]:
        told, calls = written(small, large, prompt(), unsure=unsure, rollback=rollback, most=most)
        wanted, asked = by_hand(small, large, prompt(), unsure, rollback, most)
        assert told == wanted and calls.large == asked <= TOKENS == calls.tokens
        kinds |= {"taken back"} if calls.rolled_back else set()
        kinds |= {"let stand"} if calls.large < TOKENS else set()
    assert kinds == {"taken back", "let stand"}
    assert (
        written(small, large, prompt(1), 5, unsure=0.0, rollback=6.0)[0]
        == written(small, large, prompt(1), 9, unsure=0.0, rollback=6.0)[0][:5]
    )


@pytest.mark.slow
@torch.no_grad()
def test_6_as_a_decode_program_it_is_the_same(monkeypatch):
    small, large = (by.build(name, "tiny", seed=seed).eval() for seed, name in enumerate(("llama", "mamba2_hybrid")))
    ways = [(0.0, 5.6, 10), (0.0045, 5.5, 4), (0.0, 0.0, 8)]
    plain = [written(small, large, prompt(), unsure=u, rollback=r, most=m)[0] for u, r, m in ways]
    monkeypatch.setattr(generating, "WORTH", (0, 0))
    assert [written(small, large, prompt(), unsure=u, rollback=r, most=m)[0] for u, r, m in ways] == plain


@torch.no_grad()
@pytest.mark.parametrize("rows", [1000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_7_the_lossless_verifier_draws_what_the_model_draws(rows):
    """The same loop with another verifier: a chi-square over two tokens of 8 kinds each."""
    small, large = (model("llama", seed, **{"stem.vocab": 8}) for seed in (3, 4))
    rules = SamplingParams(temperature=1.0, seed=5)
    ids = torch.arange(6)[None].expand(rows, -1) % 8
    steps = list(speculate(large, ids, 2, Draft(small), rules))
    found = torch.stack([step.tokens for step in steps], 1)
    pairs = (found[:, 0] * 8 + found[:, 1]).bincount(minlength=64).double()
    first = torch.cat([ids[:8], torch.arange(8)[:, None]], 1)
    p = large(first).logits[:, -2:].softmax(-1)
    wanted = rows * (p[0, 0][:, None] * p[:, 1]).flatten()
    seen = wanted > 5
    far = ((pairs - wanted) ** 2 / wanted)[seen].sum()
    freedom = int(seen.sum()) - 1
    assert float(far) < freedom + 3.1 * math.sqrt(2 * freedom)  # the 0.1% point


def test_it_stops_and_refuses_as_others_do():
    small, large = model("llama", 1), model("llama", 2)
    told, _ = written(small, large, prompt(), unsure=0.0, rollback=6.0)
    steps = list(fallback(small, large, prompt()[None], TOKENS, unsure=0.0, rollback=6.0, stop=told[4]))
    assert [int(step.tokens[0]) for step in steps] == told[: told.index(told[4]) + 1] and bool(steps[-1].finished[0])
    for how, says in [
        (dict(unsure=-1.0), "at least 0"), (dict(most=0), "most"), (dict(rollback=math.nan), "at least 0"),
    ]:  # fmt: skip
        with pytest.raises(by.UsageError, match=says):
            list(fallback(small, large, prompt()[None], 3, **how))
    with pytest.raises(by.UsageError, match="vocabulary of 8"):
        list(fallback(model("llama", 1, **{"stem.vocab": 8}), large, prompt()[None], 3))
    with pytest.raises(by.UsageError, match="row by row"):
        list(fallback(small, large, torch.zeros(2, 3, dtype=torch.long), 3))
