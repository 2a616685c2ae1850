"""Heads of a program: each looks for the last token that holds what it wants, and reads one variable there.

    q, k, u = the variables that three gates choose        match_ts = q_t P k_s        P: a choice in each row
    score_ts = match_ts + near_ts + (s first) (1 - match_ts) / 2        near_ts = 1 / (10 + 10 (t - s)), 0 for t itself
    w_ts = softmax_s(50 score_ts / tau)        s no later than t
    y_t = sum_s w_ts u_s        outside training the one-hot argmax of every choice and of every row of scores

So the last match wins, the own token last of all; where none matches it is the first token. Choices get colder over
the run, see `core/variables.py`. A head adds a categorical variable to the stream: `residual:append` takes it.

Shapes   x (B,T,D)   q, k, u, y (B,T,H,v)   P (H,v,v)   score, w (B,H,T,S)
Source   arXiv 2306.01128    Slug  transformer-programs    Family  programs
Tags     memory=keys, decay=none
Differs  reads from left to right alone; weights have no noise of their own, and a temperature that ends far below the
         gap of two neighbours
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Call, Prod, Site, normal
from blockyard.core.settings import Cold, Heads, Hot, Values
from blockyard.core.variables import Names, Told, first_of, temperature
from blockyard.parts.mixer._match import Matching


class Categorical(Matching):
    claims = dict(causal=True, packs=True, row_independent=True)
    around = dict(residual=("append", dict(norm=None)), head=("lm", dict(tied=False)))
    variants = ({}, dict(heads=6, values=4))
    points = ("weights",)
    choices = (*Matching.choices, "value")

    def __init__(
        self, site: Site, *, heads: Heads = 4, values: Values = 8, hot: Hot = 3.0, cold: Cold = 0.01,
    ) -> None:  # fmt: skip
        super().__init__(site, heads, values, hot, cold)
        self.value = site.param("value", (self.heads, self.variables), normal(1.0))
        self.written = Prod(self.heads, self.values)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        read = self.layout.variables(x)
        match = self.matches(read, call)
        behind = call.positions[:, :, None] - call.positions[:, None, :]
        near = (1 / (10 + 10 * behind.clamp(min=0).to(match.dtype))).masked_fill(behind == 0, 0.0)[:, None]
        first = (call.positions == 0).to(match.dtype)[:, None, None] / 2
        seen = match > float("-inf")
        score = match + near + first * (1 - match.masked_fill(~seen, 0.0))
        if call.training:
            tau = temperature(self.hot, self.cold, call.progress)
            weights = (score * (50 / tau)).softmax(-1)
        else:
            weights = first_of(score)
        weights = self.point("weights", weights.to(x.dtype), call)
        u = torch.einsum("hn,btnv->bhtv", self.chosen("value", call), read)
        return (weights @ u).transpose(1, 2).flatten(2), state

    def told(self, known: Names, step: int) -> Told:
        made = [self.asks(known, step, head, known.categorical, "latest") for head in range(self.heads.size)]
        return Told([line for lines, _ in made for line in lines], Names([name for _, name in made]))
