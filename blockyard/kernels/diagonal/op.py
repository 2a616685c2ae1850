"""A vector memory whose every element fades and is written by itself.

    h_t = exp(log_decay_t) * h_{t-1} + x_t

Shapes   x, log_decay, h (B,T,E)   state (B,E)
         reset (B,T) bool: nothing is remembered from before such a token
Source   arXiv 2311.04823 (gated, with layer-wise lower bounds), 2410.01201 (minimal recurrences)

Log-decays are finite and at most 0. The state is float32, float64 for float64 inputs; h has the dtype of x. A token
with x = 0 and log_decay = 0 leaves no trace.
"""

from ..dispatch import Op, compiled, emitted
from ..toolkit.chunks import state_dtype
from .chunked import diagonal_scan_chunked
from .reference import diagonal_scan_reference


def _flops(x, log_decay, *, initial_state=None, reset=None) -> int:
    return 3 * x.numel()


def _fake(x, log_decay, *, initial_state=None, reset=None):
    return x.new_empty(x.shape), x.new_empty(x.shape[0], x.shape[2], dtype=state_dtype(x))


diagonal_scan = Op(
    "diagonal_scan",
    reference=diagonal_scan_reference,
    chunked=diagonal_scan_chunked,
    cpu=compiled(__name__, "diagonal_scan", diagonal_scan_chunked),
    emit=emitted(__name__, "diagonal_scan"),
    flops=_flops,
    fake=_fake,
)
