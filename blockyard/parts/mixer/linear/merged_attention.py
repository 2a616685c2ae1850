"""Linear attention of merged matrices: one for keys and queries, one for values and what is written, in every head.

    y_t = sum_h P_h S_t M_h x_t scale / max(1, n_t - less)        S_t = sum_s x_s x_s'        s up to t, or all tokens

n_t is the number of tokens in S_t. Tokens are keys and values themselves, and M, P are (D,D): as W_K'W_Q and W_O W_V
are in attention, but of full rank. Behind it a layer is cubic in its input. Two heads can be one of complex numbers
(with the weights of `as_complex`): where the first half of the channels holds real parts and the second imaginary ones,

    y_t = P (sum_s x_s x_s*) M x_t / (n_t - less)        P, M, x complex, x* with the conjugate

Shapes   x, y (B,T,D)   M, P (H D,D)   S (B,H,D,D), the same in every head
Source   arXiv 2405.16845    Slug  mesa-optimization    Family  linear
Tags     memory=matrix, decay=none, update=add
Differs  several heads; complex numbers as pairs of real ones
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Prod, Site, Sublayer, UsageError, keep, leaf, upcast
from blockyard.core.settings import Heads, Natural, Scale
from blockyard.kernels import decayed_scan
from blockyard.parts.mixer.linear.linear_attention import both_ways


class MergedAttention(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, time_exponent=1.0)
    unrecorded = "a division by how many tokens were read is no instruction yet"
    points = ("q", "k", "context")
    variants = ({}, dict(heads=1, less=1), dict(heads=2, less=2, scale=0.5))

    def __init__(
        self, site: Site, *, heads: Heads = 2,
        less: Annotated[Natural, "tokens that are read and not counted in the mean"] = 0, scale: Scale | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.less = site.axis("heads", heads), less
        query = Prod(self.heads, site.stream)
        self.layout = Cat(query)
        self.query = site.linear("query", site.stream, self.layout)
        self.out = site.linear("out", query, site.stream)
        self.scale = scale or site.stream.size**-0.5

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        (q,) = self.layout.split(self.query(x, call))
        q, k = self.point("q", q * self.scale, call), self.point("k", call.zero_invalid(x), call)
        k = k[:, :, None].expand_as(q)
        if self.causal:
            none = torch.zeros(q.shape[2], 1, dtype=upcast(k).dtype, device=k.device).expand(*x.shape[:2], -1, 1)
            o, memory = decayed_scan(q, k, k, none, initial_state=leaf(state, "memory"), reset=call.reset)
        else:
            o, memory = both_ways(q, k, k, call.segment), None
        o = o / (self._seen(x, call) - self.less).clamp(min=1).to(o.dtype)[..., None, None]
        y = self.out(self.point("context", o.flatten(2), call), call)
        return y, keep(state, memory=memory)

    def _seen(self, x: Tensor, call: Call) -> Tensor:
        """(B,T) the tokens that each one reads."""
        if self.causal:
            counts = call.positions + 1
            return counts if call.valid is None else torch.where(call.valid, counts, call.positions)
        counts = torch.ones(x.shape[:2], device=x.device) if call.valid is None else call.valid.to(x.dtype)
        if call.segment is None:
            return counts.sum(1, keepdim=True).expand(x.shape[:2])
        same = call.segment[:, :, None] == call.segment[:, None, :]
        return (same * counts[:, None]).sum(2)


def as_complex(mixer: MergedAttention, kq: Tensor, pv: Tensor) -> dict[str, Tensor]:
    """The weights by which a mixer of two heads is the complex layer of these matrices (D/2,D/2)."""
    dim = mixer.stream.size
    if mixer.heads.size != 2 or dim % 2 or kq.shape != (dim // 2, dim // 2) or pv.shape != kq.shape:
        raise UsageError(f"{mixer.path}: a complex layer of {dim} channels has 2 heads and matrices of {dim / 2:g}")
    turn = paired(1j * torch.eye(dim // 2, dtype=kq.dtype))  # times i
    m, p = paired(kq) / mixer.scale, paired(pv)
    return {"query.weight": torch.cat([m, turn.T @ m]), "out.weight": torch.cat([p, p @ turn], 1)}


def paired(matrix: Tensor) -> Tensor:
    """(2n,2n) the real matrix that does to (real, imaginary) parts what a complex one (n,n) does."""
    return torch.cat([torch.cat([matrix.real, -matrix.imag], 1), torch.cat([matrix.imag, matrix.real], 1)])


def prop_three_times_as_large_is_cubed(make: Any, x: Tensor) -> None:
    made = make()
    assert torch.allclose(made(3 * x)[0], 27 * made(x)[0], rtol=1e-3, atol=1e-4)
