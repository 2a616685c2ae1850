"""A short filter over each channel's own past.

    y_t = bias + sum_{j<W} weight[:, j] x_{t-(W-1)+j}          (the last column meets the token itself)
    with `silu`, silu of that

Shapes   x (B,T,C)   weight (C,W)   bias (C)   tail (B,W-1,C)   valid, reset (B,T) bool
Source   arXiv 2312.00752 (as the filter before a recurrence)

The past counts valid tokens only: a token with `valid` false is skipped as if it were not there, and its own output is
zero. No tap reaches across the start of a segment. `tail` holds the last W-1 valid tokens before this piece, zeros
where there were fewer in its segment.
"""

from ..dispatch import Op, compiled, emitted
from .chunked import causal_conv_chunked
from .reference import causal_conv_reference


def _serves(x, weight, bias=None, *, tail=None, valid=None, reset=None, silu=False) -> bool:
    """Pieces shorter than the filter and rows with gaps are left to the other implementation."""
    return valid is None and x.shape[1] >= weight.shape[1]


def _flops(x, weight, bias=None, *, tail=None, valid=None, reset=None, silu=False) -> int:
    return x.numel() * (2 * weight.shape[1] + (bias is not None))


def _fake(x, weight, bias=None, *, tail=None, valid=None, reset=None, silu=False):
    return x.new_empty(x.shape), x.new_empty(x.shape[0], weight.shape[1] - 1, x.shape[2])


causal_conv = Op(
    "causal_conv",
    reference=causal_conv_reference,
    chunked=causal_conv_chunked,
    cpu=compiled(__name__, "causal_conv", causal_conv_chunked, _serves),
    emit=emitted(__name__, "causal_conv"),
    flops=_flops,
    fake=_fake,
    precise=False,
)
