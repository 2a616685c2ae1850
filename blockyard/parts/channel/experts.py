"""Many channels of which each token uses a few: those that a router sends it to.

    w, p = router(x)        y = sum_e w_e F_e(x)        over the experts whose w_e is not zero
    penalty = balance E sum_e f_e mean p_e              f_e: the share of all assignments of a token to an expert

An expert computes its own tokens only. f counts assignments, which sum to one whatever the number of a token's experts;
even loads and shares cost `balance`. Means are over the tokens of a forward that count.

Shapes   x, y (B,T,D)   w, p (B,T,E)
Source   arXiv 1701.06538, 2101.03961    Family  channel
Differs  no capacity: no token is dropped; experts are any channel that reads one token alone
"""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from blockyard.core import Call, Site, Spec, Sublayer, UsageError, gather
from blockyard.core.settings import ChannelSpec, Count, NonNegative, RouterSpec


class Experts(Sublayer):
    unrecorded = "which experts run depends on what a token says"
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("weight",)

    def __init__(
        self, site: Site, *, experts: Annotated[Count, "how many experts"] = 4,
        expert: Annotated[ChannelSpec, "what each expert is"] = Spec("channel", "mlp"),
        router: RouterSpec = Spec("router", "top"),
        balance: Annotated[NonNegative, "what uneven loads cost"] = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        self.count = site.axis("count", experts)
        self.count.fixed = "experts are modules of their own, taken one by one"
        self.router: Any = site.build("router", router, self.count)
        made: list[Sublayer] = [site.build(f"experts.{i}", expert) for i in range(experts)]
        if not all(each.claims.get("per_token") for each in made):
            raise UsageError(f"{site.path}: an expert reads each token alone, channel:{expert.name} does not")
        self.experts, self.balance = nn.ModuleList(made), balance

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        weight, share = self.router(x, call)
        weight = self.point("weight", weight, call)
        used = weight != 0
        if call.valid is not None:
            used = used & call.valid[..., None]
        if call.training and self.balance:
            call.penalise(self.path, "balance", self._unevenness(used, share, call), self.balance)
        tokens, y = x.shape[0] * x.shape[1], torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            # on the meta device tokens have no numbers to go by: all experts get as many
            many = tokens * self.router.active(call) // len(self.experts) if x.is_meta else int(used[..., i].sum())
            mine = weight[..., i, None].to(x.dtype)
            if many == tokens:
                y = y + mine * expert(x, call)[0]
            elif many:
                index = x.new_zeros(1, many, dtype=torch.long) if x.is_meta else used[..., i].flatten().nonzero().T
                made = gather(mine, index) * expert(gather(x, index), call.regroup(index))[0]
                y = y.flatten(0, 1).index_add(0, index[0], made[0].to(y.dtype)).view_as(y)
        return y, state

    def _unevenness(self, used: Tensor, share: Tensor, call: Call) -> Tensor:
        """E sum_e f_e mean p_e: one where all experts get as much, up to E."""
        load = used.to(share.dtype).sum((0, 1))
        tokens = share.shape[0] * share.shape[1] if call.valid is None else call.valid.sum().clamp(min=1)
        mean = call.zero_invalid(share).sum((0, 1)) / tokens
        return len(self.experts) * (load / load.sum().clamp(min=1) * mean).sum()
