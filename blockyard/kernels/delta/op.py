"""A matrix memory that erases what a key retrieves before it writes.

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T          a_t = exp(log_decay_t)          y_t = S_t^T q_t

Shapes   q, k (B,T,H,K)   v (B,T,H,V)   beta, log_decay (B,T,H)   S (B,H,K,V)
         reset (B,T) bool: nothing is remembered from before such a token
Source   arXiv 2406.06484 (delta rule over chunks), 2412.06464 (with a fading gate)

With unit keys and beta in [0, 2] no transition expands. Log-decays are finite and at most 0. The state is float32,
float64 for float64 inputs; y has the dtype of v. A token with beta = 0 and log_decay = 0 leaves no trace.
"""

from ..dispatch import Op, compiled, emitted
from ..toolkit.chunks import state_dtype
from .chunked import delta_scan_chunked
from .reference import delta_scan_reference


def _flops(q, k, v, beta, log_decay=None, *, initial_state=None, reset=None) -> int:
    B, T, H, V = v.shape
    K = q.shape[-1]
    return B * T * H * (6 * K * V + 2 * V + (0 if log_decay is None else K * V + 1))


def _fake(q, k, v, beta, log_decay=None, *, initial_state=None, reset=None):
    dtype = state_dtype(v)
    B, _, H, V = v.shape
    return v.new_empty(v.shape), v.new_empty(B, H, q.shape[-1], V, dtype=dtype)


delta_scan = Op(
    "delta_scan",
    reference=delta_scan_reference,
    chunked=delta_scan_chunked,
    cpu=compiled(__name__, "delta_scan", delta_scan_chunked),
    emit=emitted(__name__, "delta_scan"),
    flops=_flops,
    fake=_fake,
)
