"""A vector memory per channel whose fading, writing and reading depend on the token.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t          y_t = h_t C_t

Shapes   x, dt (B,T,E)   A (E,N), negative   B, C (B,T,N)   h (B,E,N)
         reset (B,T) bool: nothing is remembered from before such a token
Source   arXiv 2312.00752

The state is float32, float64 for float64 inputs; y has the dtype of x. A token with dt = 0 leaves no trace.
"""

from ..dispatch import Op, compiled, emitted
from ..toolkit.chunks import state_dtype
from .chunked import selective_scan_chunked
from .reference import selective_scan_reference


def _flops(x, dt, A, B, C, *, initial_state=None, reset=None) -> int:
    E, N = A.shape
    return x.shape[0] * x.shape[1] * E * (7 * N + 1)


def _fake(x, dt, A, B, C, *, initial_state=None, reset=None):
    dtype = state_dtype(x)
    return x.new_empty(x.shape), x.new_empty(x.shape[0], *A.shape, dtype=dtype)


selective_scan = Op(
    "selective_scan",
    reference=selective_scan_reference,
    chunked=selective_scan_chunked,
    cpu=compiled(__name__, "selective_scan", selective_scan_chunked),
    emit=emitted(__name__, "selective_scan"),
    flops=_flops,
    fake=_fake,
)
