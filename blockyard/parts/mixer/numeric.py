"""Counting heads of a program: each sums a number over all tokens that hold what it wants.

    q, k = the variables that two gates choose        match_ts = q_t P k_s        P: a choice in each row
    n = a number that a third gate chooses among a one and those of the stream        y_t = sum_s match_ts n_s

Nothing is normalised: with the one y is how many tokens match. Choices get colder over the run, see
`core/variables.py`. A head adds a number to the stream: `residual:append` takes it.

Shapes   x (B,T,D)   q, k (B,T,H,v)   n, y (B,T,H)   P (H,v,v)   match (B,H,T,S)
Source   arXiv 2306.01128    Slug  transformer-programs    Family  programs
Tags     memory=keys, decay=none
Differs  the one is no variable of the stream
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Call, Site, normal
from blockyard.core.settings import Cold, Heads, Hot, Values
from blockyard.core.variables import Names, Told
from blockyard.parts.mixer._match import Matching


class Numeric(Matching):
    claims = dict(causal=True, packs=True, row_independent=True, bidirectional=True)
    around = dict(residual=("append", dict(norm=None)), head=("lm", dict(tied=False)))
    variants = ({}, dict(heads=6, values=4))
    points = ("match",)
    choices = (*Matching.choices, "value")

    def __init__(
        self, site: Site, *, heads: Heads = 4, values: Values = 8, hot: Hot = 3.0, cold: Cold = 0.01,
    ) -> None:  # fmt: skip
        super().__init__(site, heads, values, hot, cold)
        amounts = site.axis("amounts", 1 + len(self.layout.numbers))
        amounts.ordered, amounts.fixed = True, "a one, and the numbers of the stream"
        self.value = site.param("value", (self.heads, amounts), normal(1.0))
        self.written = self.heads

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        match = self.matches(self.layout.variables(x), call)
        match = self.point("match", match.masked_fill(match == float("-inf"), 0.0).to(x.dtype), call)
        amount = self.layout.amounts(call.zero_invalid(x))
        n = torch.einsum("hm,btm->bht", self.chosen("value", call), amount)
        return (match @ n[..., None]).squeeze(-1).transpose(1, 2), state

    def told(self, known: Names, step: int) -> Told:
        of = ("ones", *known.numbers)
        made = [self.asks(known, step, head, of, "count") for head in range(self.heads.size)]
        return Told([line for lines, _ in made for line in lines], Names((), [name for _, name in made]))
