"""How the next token is chosen from its logits, as pure functions of the logits and one uniform number.

    l'_v = l_v / c where l_v > 0 else l_v c, for every v that was seen        c = repetition_penalty
    p = softmax(l' / temperature), cut to the `top_k` likeliest tokens, to the smallest set of likeliest tokens of
    mass `top_p` and to the tokens of at least `min_p` times the largest p, all measured on the same p; then rescaled

Shapes   logits, p (...,V)   seen (...,V) bool   draw (...) in [0,1)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blockyard.core.call import widest_dtype
from blockyard.core.errors import UsageError
from blockyard.core.random import uniform
from blockyard.core.renamed import attributes, keywords

BLOCK = 256  # positions whose numbers are drawn at once
LEAST = 1e-6  # what logits are divided by without leaving the range of any float


def integer(name: str, value: int, least: int, mend: str = "") -> None:
    """Refuse what is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} {value!r} must be a whole number of at least {least}{mend}")


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen. A temperature of zero takes the likeliest and draws nothing; defaults cut nothing.

    temperature          what logits are divided by: 0, or 1e-6 to 1e6
    top_k                how many of the likeliest tokens stay, at least 1; None: all
    top_p                the mass of the likeliest tokens that stay, above 0, at most 1
    min_p                tokens stay that are at least so many times as likely as the likeliest, 0 to 1
    repetition_penalty   what lowers the logits of tokens that were seen, 1e-6 to 1e6; 1: nothing
    seed                 of all draws, with the seed of a row and the position
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p", "repetition_penalty"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int | float):
                raise UsageError(f"{name} {getattr(self, name)!r} must be a number")
        if not (self.temperature == 0 or LEAST <= self.temperature <= 1 / LEAST):
            raise UsageError(
                f"temperature {self.temperature} must be 0 (the likeliest token) or from {LEAST:g} to {1 / LEAST:g}"
            )
        if self.top_k is not None:
            integer("top_k", self.top_k, 1, "; leave it out to keep every token")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p {self.top_p} must be above 0 and at most 1 (keep every token)")
        if not 0 <= self.min_p <= 1:
            raise UsageError(f"min_p {self.min_p} must be between 0 (keep every token) and 1")
        if not LEAST <= self.repetition_penalty <= 1 / LEAST:
            raise UsageError(
                f"repetition_penalty {self.repetition_penalty} must be from {LEAST:g} to {1 / LEAST:g};"
                " 1 leaves repeated tokens alone"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise UsageError(f"seed {self.seed!r} must be a whole number")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken: nothing is drawn."""
        return self.temperature == 0


SamplingParams.__init__ = keywords(repetition="repetition_penalty")(SamplingParams.__init__)
__getattr__ = attributes(__name__, Rules="SamplingParams")
PLAIN, GREEDY = SamplingParams(), SamplingParams(temperature=0)


def penalised(logits: Tensor, rules: SamplingParams, seen: Tensor | None = None) -> Tensor:
    """The logits with the tokens that were seen made less likely (more likely under a penalty below 1)."""
    if seen is None or rules.repetition_penalty == 1:
        return logits
    logits = logits if logits.dtype == torch.float64 else logits.float()
    weaker = torch.where(logits > 0, logits / rules.repetition_penalty, logits * rules.repetition_penalty)
    return torch.where(seen, weaker, logits)


def probabilities(logits: Tensor, rules: SamplingParams, seen: Tensor | None = None) -> Tensor:
    """What `choose` draws from, in the widest float of the device."""
    logits = penalised(logits, rules, seen).to(widest_dtype(logits.device))
    if rules.greedy:
        return one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    p = ((logits - logits.amax(-1, keepdim=True)) / rules.temperature).softmax(-1)
    least = rules.min_p * p.amax(-1, keepdim=True)
    if rules.top_k is not None or rules.top_p < 1:
        ranked, ids = p.sort(stable=True, dim=-1, descending=True)
        keep = ranked.cumsum(-1) - ranked < rules.top_p
        keep[..., 0] = True  # however narrow the float in which top_p is compared
        if rules.top_k is not None:
            keep[..., min(rules.top_k, keep.shape[-1]) :] = False
        p = p * torch.zeros_like(keep).scatter(-1, ids, keep)
    if rules.min_p > 0:
        p = p * (p >= least)
    return p / p.sum(-1, keepdim=True)


def pick(p: Tensor, draw: Tensor) -> Tensor:
    """The first token whose cumulative mass exceeds `draw`: one of probability zero is never picked."""
    mass = p.cumsum(-1)
    return (mass <= draw[..., None].to(p.dtype) * mass[..., -1:]).sum(-1)


def choose(logits: Tensor, draw: Tensor | None, rules: SamplingParams, seen: Tensor | None = None) -> Tensor:
    """(...,V) logits and (...) uniform numbers -> (...) tokens."""
    if rules.greedy or draw is None:
        return penalised(logits, rules, seen).argmax(-1)
    return pick(probabilities(logits, rules, seen), draw)


def sound(found: Tensor) -> Tensor:
    """These log-probabilities (...) of chosen tokens, refused where the predictions were no numbers.

    One NaN or infinity among the logits makes that of any token NaN or minus infinity, which no choice has.
    """
    if not bool(found.isfinite().all()):
        raise UsageError("the model's predictions are not numbers (NaN): its weights are damaged, or training diverged")
    return found


class Draws:
    """Uniform numbers by (use, seed, a row's own seed, position): who else is in the batch does not enter."""

    def __init__(self, use: str, rules: SamplingParams, seeds: Sequence[int], device: torch.device) -> None:
        self.use, self.rules, self.seeds, self.device = use, rules, seeds, device
        self.blocks: dict[int, tuple[int, list[float]]] = {}

    def number(self, row: int, position: int) -> float:
        block = position // BLOCK
        if self.blocks.get(row, (-1, []))[0] != block:
            key = (self.use, self.rules.seed, self.seeds[row], block)
            self.blocks[row] = block, uniform(key, (BLOCK,), "cpu").tolist()
        return self.blocks[row][1][position % BLOCK]

    def __call__(self, rows: Sequence[int], positions: Sequence[int]) -> Tensor | None:
        """One number for each pair of row and position; none where the rules need none."""
        if self.rules.greedy:
            return None
        numbers = [self.number(row, position) for row, position in zip(rows, positions)]
        return torch.tensor(numbers, device=self.device)
