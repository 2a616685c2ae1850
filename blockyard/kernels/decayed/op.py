"""A matrix memory that fades and is written by outer products.

    S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T          y_t = S_t^T q_t

Shapes   q, k (B,T,H,K)   v (B,T,H,V)   log_decay (B,T,H,K) or (B,T,H,1)   S (B,H,K,V)
         reset (B,T) bool: nothing is remembered from before such a token
Source   arXiv 2312.06635 (vector decay), 2405.21060 (scalar decay), 2307.08621 (constant scalar decay)

Log-decays are finite and at most 0. With one decay per head, q and k may have fewer heads than v: neighbouring heads
share them. The state is float32, float64 for float64 inputs; y has the dtype of v. A token with k = 0 and
log_decay = 0 leaves no trace.
"""

from ..dispatch import Op, compiled, emitted
from ..toolkit.chunks import state_dtype
from .chunked import decayed_scan_chunked
from .reference import decayed_scan_reference


def _flops(q, k, v, log_decay, *, initial_state=None, reset=None) -> int:
    B, T, H, V = v.shape
    return B * T * H * (5 * q.shape[-1] * V + log_decay.shape[-1])


def _fake(q, k, v, log_decay, *, initial_state=None, reset=None):
    dtype = state_dtype(v)
    B, _, H, V = v.shape
    return v.new_empty(v.shape), v.new_empty(B, H, q.shape[-1], V, dtype=dtype)


decayed_scan = Op(
    "decayed_scan",
    reference=decayed_scan_reference,
    chunked=decayed_scan_chunked,
    cpu=compiled(__name__, "decayed_scan", decayed_scan_chunked),
    emit=emitted(__name__, "decayed_scan"),
    flops=_flops,
    fake=_fake,
)
