"""A full matrix over its largest singular value, times a learned number: its size has one slow handle.

    y = (gamma / sigma) W x + b        sigma = v^T W u,  v = W u / |W u|        W as linear:dense, b = 0 at first
    once a step of training:  u <- normalised W^T W u        u at first: of the singular value itself

No gradient goes through u and v. A projection that is several side by side has sigma and gamma for each of them. W is
what a weight decay falls on, gamma is not. u changes after a step only, so that all forwards of one agree and none
outside training leaves a trace. Products with u are in single precision at least.

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   gamma (P)   u (P, reads), kept   b (writes)
Source   arXiv 2303.06296    Slug  sigma-reparam    Family  linear
Differs  the power step of a training step comes after the optimiser's, so u is never older than W; W is drawn as a
         dense one's (paper: normal, 0.02); gamma starts so that nothing changes, as in the released code (paper: at 1)
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from blockyard.core import Call, Cat, Expr, Linear, Site, constant, normal, upcast
from blockyard.core.call import Seen
from blockyard.kernels import linear


class Sigma(Linear):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(gamma="one", bias=True))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        bias: Annotated[bool, "a learned number added to each output; none: where the part asks for it"] | None = None,
        gamma: Annotated[Literal["same", "one"], "its start: what changes nothing, or 1"] = "same",
    ) -> None:  # fmt: skip
        super().__init__()
        self.sizes = [piece.size for piece in writes.parts] if isinstance(writes, Cat) else [writes.size]
        pieces = site.axis("pieces", len(self.sizes))
        pieces.fixed = "each stands for a projection of its own"
        self.weight = site.param(
            "weight", (writes, reads), normal(gain * reads.size**-0.5), decay=True, reads=reads, writes=writes
        )  # fmt: skip
        self.bias = site.param("bias", (writes,), constant(0.0)) if (biased if bias is None else bias) else None
        self.u = site.buffer("u", lambda _: self._leading(), (pieces, reads))
        start = constant(1.0) if gamma == "one" else lambda value, _: value.copy_(self.sigma())
        self.gamma = site.param("gamma", (pieces,), start)

    def _leading(self) -> Tensor:
        """(P, reads): of every piece the direction that it stretches most."""
        if self.weight.is_meta:
            return self.weight.new_empty(len(self.sizes), self.weight.shape[1])
        pieces = self.weight.detach().double().split(self.sizes)
        return torch.stack([torch.linalg.svd(piece, full_matrices=False)[2][0] for piece in pieces]).to(
            self.weight.dtype
        )

    def sigma(self) -> Tensor:
        """(P): how much of every piece's direction it makes."""
        found = []
        for piece, u in zip(upcast(self.weight).split(self.sizes), normalize(upcast(self.u), dim=-1)):
            out = piece @ u
            found.append(out @ normalize(out.detach(), dim=0))
        return torch.stack(found)

    def matrix(self) -> Tensor:
        """(writes, reads): what multiplies."""
        scale = upcast(self.gamma) / self.sigma().clamp(min=1e-12)
        each = [piece * upcast(part) for piece, part in zip(scale, self.weight.split(self.sizes))]
        return torch.cat(each).to(self.weight.dtype)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        if call is not None and call.training:
            call.observe(self.path, "steps", torch.ones((), device=x.device), 1)  # so that `update` follows
        return linear(x, self.matrix(), self.bias)

    def update(self, seen: Mapping[str, Seen]) -> None:
        """One power step towards the direction that the matrix, as it now is, stretches most."""
        for piece, u in zip(upcast(self.weight).split(self.sizes), self.u):
            wide = piece.T @ normalize(piece @ upcast(u), dim=0)
            u.copy_(normalize(wide, dim=0))
