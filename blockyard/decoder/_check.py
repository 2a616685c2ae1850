"""What a proposer promises, behind small models of both kinds of memory."""

import inspect
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from scipy.special import chdtri
from torch import Tensor

from blockyard.core.registry import Entry
from blockyard.core.settings import check_settings
from blockyard.decode.generate import generate
from blockyard.decode.propose import Proposal, Proposer, Rows
from blockyard.decode.rules import GREEDY, SamplingParams, probabilities
from blockyard.decode.speculate import speculate
from blockyard.model.claims import Verdict
from blockyard.model.model import Model
from blockyard.systems import build

TOKENS = 12
DRAWN = SamplingParams(temperature=2.0, seed=11)  # even enough to count, uneven enough to tell
MANY, KINDS, LONG = 600, 3, 3  # rows whose text is counted, of so many kinds of tokens, so many tokens each
ALARM = 1e-4  # how seldom an honest proposer would be refused, had the seed not been fixed


class _Heard(Proposer):
    """A proposer with what it said of each row, and whether that is what it may say."""

    def __init__(self, proposer: Proposer) -> None:
        self.proposer, self.needs_state, self.sound = proposer, proposer.needs_state, True
        self.said: dict[int, list[list[int]]] = {}

    def begin(self, rows: int) -> None:
        self.said = {}
        self.proposer.begin(rows)

    def select(self, lines: list[int]) -> None:
        self.proposer.select(lines)

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        guess = self.proposer.propose(rows, wanted)
        kinds = rows.model.axes["stem.vocab"].size
        for number, new, most in zip(rows.numbers, guess.tokens, wanted, strict=True):
            self.said.setdefault(number, []).append(new)
            self.sound &= len(new) <= most and all(0 <= token < kinds for token in new)
        for new, p in zip(guess.tokens, guess.p or ()):
            self.sound &= p.shape == (len(new), kinds) and all(row[token] > 0 for row, token in zip(p, new))
            self.sound &= bool((p >= 0).all()) and torch.allclose(p.sum(-1), p.new_ones(len(new)))
        return guess


@torch.no_grad()
def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it; one that guesses by a model gets another small one."""
    settings = check_settings(entry, settings)
    for name, other in (("llama", "gla"), ("gla", "llama")):
        model, before = _model(name), torch.random.get_rng_state()
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        proposer = _Heard(_made(entry, settings, other))
        rows = [torch.arange(n) % 5 for n in (12, 7, 9)]
        plain = _text(generate(model, rows, TOKENS, GREEDY))
        same = torch.equal(_text(speculate(model, rows, TOKENS, proposer)), plain)
        yield Verdict(f"{name}: the likeliest tokens are those of plain decoding", same)
        first = dict(proposer.said)
        _text(speculate(model, [row + 5 for row in rows[:2]], TOKENS, proposer))
        _text(speculate(model, rows, TOKENS, proposer))
        yield Verdict(f"{name}: forgets what was when it begins", proposer.said == first)
        alone = []
        for row in rows:
            _text(speculate(model, [row], TOKENS, proposer))
            alone.append(proposer.said[0])
        yield Verdict(f"{name}: says of a row what it says of that row alone", alone == [first[i] for i in range(3)])
        yield Verdict(f"{name}: drawn tokens have the distribution of the model", *_drawn(entry, settings, name, other))
        yield Verdict(f"{name}: at most the tokens that are wanted, possible where drawn", proposer.sound)
        kept = all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
        kept = kept and torch.equal(before, torch.random.get_rng_state())
        yield Verdict(f"{name}: leaves the model and the dice", kept)


def _drawn(entry: Entry, settings: dict[str, Any], name: str, other: str) -> tuple[bool, str]:
    """Whether the texts of many rows are as frequent as they are likely, and how far they are from it."""
    model, proposer = _model(name, KINDS), _Heard(_made(entry, settings, other, KINDS))
    prompt = torch.arange(6)[None] % KINDS
    found = _text(speculate(model, prompt.expand(MANY, -1), LONG, proposer, DRAWN))
    lines = torch.tensor(list(product(range(KINDS), repeat=LONG)))
    logits = model(torch.cat([prompt.expand(len(lines), -1), lines], 1)).logits[:, prompt.shape[1] - 1 : -1]
    wanted = MANY * probabilities(logits, DRAWN).gather(-1, lines[..., None])[..., 0].prod(1)
    places = KINDS ** torch.arange(LONG - 1, -1, -1)
    seen = (found @ places).bincount(minlength=len(lines))
    far, most = float(((seen - wanted) ** 2 / wanted).sum()), float(chdtri(len(lines) - 1, ALARM))
    return far < most and proposer.sound, f"chi-square {far:.0f}, at most {most:.0f}"


def _model(name: str, kinds: int | None = None) -> Model:
    """A small model whose next token is far from certain, in double precision: nothing ties."""
    model = build(name, size="tiny", **({} if kinds is None else {"stem.vocab": kinds})).double().eval()
    draw = torch.Generator().manual_seed(5)
    for p in model.parameters():
        p += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


def _made(entry: Entry, settings: dict[str, Any], other: str, kinds: int | None = None) -> Proposer:
    make = entry.load_named()
    own = {"model": _model(other, kinds)} if "model" in inspect.signature(make).parameters else {}
    return make(**own, **settings)


def _text(steps: Any) -> Tensor:
    """(B,T) tokens."""
    return torch.stack([step.tokens for step in steps], 1)
