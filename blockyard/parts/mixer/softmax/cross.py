"""Every token reads what a tower left, weighed by the softmax of how well its query meets the tower's keys.

    q = W_q x        k, v = W_kv m        y_t = W_o sum_s softmax_s(q_t . k_s * scale) v_s        all s that count

With a state, keys and values are made at the first piece and kept.

Shapes   x, y (B,T,D)   m (B,S,M), the tower's stream   q (B,T,H,K)   k, v (B,S,H,K)
Source   arXiv 1706.03762    Family  softmax
Tags     memory=tower, decay=none
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Constant, Prod, Site, Sublayer, UsageError
from blockyard.core.call import Memory
from blockyard.core.settings import HeadDim, Heads, Scale, Word
from blockyard.kernels import attend
from blockyard.parts.mixer._past import INSIDE, weighed


class Cross(Sublayer):
    claims = dict(causal=True, streams=True, row_independent=True, per_token=True, time_exponent=1.0)
    known = dict(packs="a tower answers a row, and a packed row has many documents")
    unrecorded = "what a tower left is no instruction yet"
    around = dict(tower=("source", dict(dim=24)))
    points = ("q", "k", "v", "scores", "weights", "context")
    variants = ({}, dict(heads=2, head_dim=6, scale=1.0))

    def __init__(
        self, site: Site, *, heads: Heads = 4, head_dim: HeadDim | None = None, scale: Scale | None = None,
        tower: Annotated[Word, "the name of the tower that is read"] = "source",
    ) -> None:  # fmt: skip
        super().__init__()
        channels = site.axis("head_dim", head_dim or site.per_head(heads))
        head = Prod(site.axis("heads", heads), channels)
        self.head, self.layout = head, Cat(head, head)
        self.q = site.linear("q", site.stream, head)
        self.kv = site.linear("kv", site.memory_of(tower), self.layout)
        self.out = site.linear("out", head, site.stream)
        self.tower, self.scale = tower, scale or channels.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        kept = None if state is None else state.get("tower")
        if kept is None:
            memory = self._memory(call)
            k, v = self.layout.split(self.kv(memory.x.to(x.dtype), call))
            valid = memory.valid
            if state is not None:
                whole = torch.ones(k.shape[:2], dtype=torch.bool, device=k.device) if valid is None else valid
                kept = Constant({"k": k, "v": v}, whole)
        else:
            k, v, valid = kept.values["k"], kept.values["v"], kept.valid
        q = self.point("q", self.head.split(self.q(x, call)), call)
        k, v = self.point("k", k, call), self.point("v", v, call)
        mask = None if valid is None else valid[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        how: dict[str, Any] = dict(scale=self.scale, causal=False, mask=mask)
        y = weighed(self, q, k, v, call, **how) if self.asked(call, *INSIDE) else attend(q, k, v, **how)
        return self.out(self.point("context", y.flatten(2), call), call), None if kept is None else {"tower": kept}

    def _memory(self, call: Call) -> Memory:
        if self.tower not in call.memory:
            raise UsageError(f"{self.path}: reads the tower {self.tower}, and this batch has nothing for it to read")
        return call.memory[self.tower]
