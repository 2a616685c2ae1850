"""One block that loops until each token has had enough of it.

    p_n = sigmoid(w . x_n + b)        a token halts where its sum of p passes 1 - eps, in the last loop in any case
    y = sum_n u_n x_n                 u_n = p_n while it runs, what is missing to 1 where it halts, then 0
    penalty = cost mean(loops + what was missing at the halt)

x_n: the stream after n loops, each with `signal` added before it. A token that has halted stays as it is: nothing is
written to it, and others still see it. All loops are computed for all tokens, so that a token depends on what it sees
and on no other row.

Shapes   x, y (B,T,D)   p, u (B,T)   w (D)   b ()
Source   arXiv 1807.03819, 1603.08983    Slug  universal-transformer    Family  depth
Differs  the output is the weighted sum of the streams; halted tokens are frozen (the authors' code refines them)
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Depth, Site, UsageError, constant, normal, upcast
from blockyard.core.part import acting
from blockyard.core.settings import Depths, NonNegative, Number, PositionSpec, Share


class Halting(Depth):
    unrecorded = "which tokens go on depends on what they say"
    claims = dict(per_token=True, row_independent=True)
    points = ("weight",)

    def __init__(
        self, site: Site, names: tuple[str, ...], *, loops: Annotated[Depths, "how often the block runs at most"] = 4,
        cost: Annotated[NonNegative, "what a loop costs"] = 0.01,
        eps: Annotated[Share, "a token halts where so much is missing to a probability of one"] = 0.01,
        bias: Annotated[Number, "where the probability to halt starts, before the sigmoid"] = 1.0,
        signal: Annotated[PositionSpec, "what is added to the stream before every loop"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(names) != 1:
            raise UsageError(f"depth:halting repeats one block, given {', '.join(names)}")
        self.name, self.loops, self.cost, self.eps = names[0], loops, cost, eps
        self.signal = acting(site.slot("signal", signal), "at_input")
        self.w = site.param("w", (site.stream,), normal(site.stream.size**-0.5))
        self.b = site.param("b", (), constant(bias))

    def plan(self) -> list[tuple[str, int]]:
        return [(self.name, self.loops)]

    def forward(self, flow: Any, run: Any) -> Any:
        call = flow.call
        running = torch.ones_like(call.positions, dtype=torch.bool)
        total = torch.zeros_like(call.positions, dtype=upcast(self.w).dtype)
        spent, y = total, torch.zeros_like(flow.x)
        for loop in range(self.loops):
            if self.signal is not None:
                told = self.signal.at_input(flow.x, call._replace(loop=loop))
                flow = flow._replace(carry=torch.where(running[..., None], told, flow.x), rule=None)
            for step in self.blocks[0]:
                flow = run(flow, step, loop, active=running if loop else None)  # all run at first
            x = flow.x
            p = (upcast(x) @ upcast(self.w) + self.b).sigmoid()
            missing = 1 - total
            halts = running & (total + p > 1 - self.eps) if loop + 1 < self.loops else running
            u = torch.where(halts, missing, torch.where(running, p, torch.zeros_like(p)))
            u = self.point("weight", u, call._replace(loop=loop))
            y = y + u.to(x.dtype)[..., None] * x
            spent = spent + running + torch.where(halts, missing, torch.zeros_like(p))
            total, running = total + u, running & ~halts
        self._ponder(spent, call)
        return flow._replace(carry=y, rule=None)

    def _ponder(self, spent: Tensor, call: Any) -> None:
        """What the loops of the tokens that count cost."""
        tokens = spent.numel() if call.valid is None else call.valid.sum().clamp(min=1)
        call.penalise(self.path, "ponder", call.zero_invalid(spent).sum() / tokens, self.cost)
