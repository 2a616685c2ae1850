"""What mixers of programs share: heads that find the tokens which hold what a query wants.

    q_t, k_t = the variables that the gates of a head choose        match_ts = q_t P k_s in [0,1]; 0 or 1 when certain

P (v,v) has a choice in each row: for a query's value the key's value that is wanted.
"""

from abc import ABC
from collections.abc import Sequence

import torch
from torch import Tensor

from blockyard.core import Call, Site, Sublayer, normal, visibility
from blockyard.core.variables import Names, Programmed, choice, layout, sure
from blockyard.kernels import attend_scores


class Matching(Sublayer, Programmed, ABC):
    """Heads with gates for queries and keys, and predicates; `chosen` is what a gate chooses in a forward."""

    choices = ("query", "key", "predicate")

    def __init__(self, site: Site, heads: int, values: int, hot: float, cold: float) -> None:
        super().__init__()
        self.heads, self.values = site.axis("heads", heads), site.axis("values", values)
        self.layout = layout(site.stream, self.values.size, site.path)
        variables, wanted = site.axis("variables", len(self.layout.categorical)), site.axis("wanted", values)
        for axis in (self.heads, variables, self.values, wanted):
            axis.ordered, axis.fixed = True, "the variables of the stream and their values"
        self.hot, self.cold = hot, cold
        self.query = site.param("query", (self.heads, variables), normal(1.0))
        self.key = site.param("key", (self.heads, variables), normal(1.0))
        self.predicate = site.param("predicate", (self.heads, self.values, wanted), normal(1.0))
        self.variables = variables

    def chosen(self, name: str, call: Call) -> Tensor:
        """A choice by the logits under a name."""
        return choice(getattr(self, name), call, f"{self.path}.{name}", self.hot, self.cold)

    def matches(self, read: Tensor, call: Call) -> Tensor:
        """(B,H,T,S) of variables read (B,T,n,v); minus infinity where t does not see s."""
        q, k = (torch.einsum("hn,btnv->bthv", self.chosen(name, call), read) for name in ("query", "key"))
        wanted = torch.einsum("bthv,hvw->bthw", q, self.chosen("predicate", call))
        found = visibility(call)
        mask = None if found.mask is None else found.mask[:, None]
        return attend_scores(wanted, k, scale=1.0, mask=mask, causal=found.causal, spans=found.spans)

    def certain(self) -> dict[str, Tensor]:
        return {name: sure(getattr(self, name).detach()) for name in self.choices}

    def asks(self, known: Names, step: int, head: int, of: Sequence[str], finds: str) -> tuple[list[str], str]:
        """The lines that make a head's variable, and its name: what it finds of the variables `of` that it may read."""
        query, key, value = (int(getattr(self, name)[head].argmax()) for name in ("query", "key", "value"))
        rule = {a: int(b) for a, b in enumerate(self.predicate[head].argmax(-1))}
        name, wants = f"{finds}_{step}_{head}", f"wants_{step}_{head}"
        asked, keys, values = known.categorical[query], known.categorical[key], of[value]
        return [
            f"{wants} = {rule}",
            f"{name} = {finds}([{wants}.get(x) for x in {asked}], {keys}, {values})",
        ], name
