"""Softmax attention.

    y_t = sum_s w_ts v_s          w_t. = softmax over the s that t may see of (scale q_t.k_s + bias_ts)

Shapes   q (B,T,H,D)   k (B,S,G,D)   v (B,S,G,V)   mask bool or float, (B or 1, 1 or H, T, S)   G divides H
         spans (B or 1, T, 2) whole numbers
Source   arXiv 1706.03762; grouped heads 2305.13245; windows 2004.05150, sinks 2309.17453

With `causal`, query t of T sees the first S-T+t+1 keys, so S > T reads a past. Of those, a `window` leaves the last so
many, and the first `sinks` keys. Of all these `spans` leaves a query those from one key on and before another: the
document it stands in, say. A query that may see nothing gives zero.

Counted are the pairs that see each other, whatever a mask or spans hide.
"""

from functools import cache

import torch
from torch import Tensor

from ..dispatch import Op, compiled
from .chunked import attend_fused
from .mask import pairs_below
from .reference import attend_reference

FEWEST = 96  # queries and keys from which on the loops are faster: measured


@cache
def _measured() -> bool:
    """Whether the loops are compiled for a kind of machine on which they were found to be faster."""
    from ..toolkit.machine import has

    return has("avx2")


def _serves(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, mask: Tensor | None = None, window: int | None = None,
    sinks: int = 0, scale: float | None = None, spans: Tensor | None = None,
) -> bool:  # fmt: skip
    """Masks, sinks, double precision, short pieces and less heads than threads are left to the other implementation."""
    if not _measured() or q.dtype == torch.float64:
        return False
    plain = mask is None and not sinks and (causal or window is None)
    return plain and min(q.shape[1], k.shape[1]) >= FEWEST and q.shape[0] * k.shape[2] >= torch.get_num_threads()


def _flops(q, k, v, *, causal=True, mask=None, window=None, sinks=0, scale=None, spans=None) -> int:
    B, T, H, D = q.shape
    S = k.shape[1]  # with fewer keys than queries the first ones see nothing
    pairs = pairs_below(S, window, sinks) - pairs_below(max(0, S - T), window, sinks) if causal else T * S
    return B * H * pairs * (2 * D + 2 * v.shape[-1] + 5)


def _fake(q, k, v, *, causal=True, mask=None, window=None, sinks=0, scale=None, spans=None):
    return v.new_empty(*q.shape[:-1], v.shape[-1])


attend = Op(
    "attend",
    reference=attend_reference,
    chunked=attend_fused,
    cpu=compiled(__name__, "attend_tiled", attend_fused, _serves, "training"),
    flops=_flops,
    fake=_fake,
    precise=False,
)
