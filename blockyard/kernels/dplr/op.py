"""A matrix memory whose transition is diagonal plus rank one: it fades channel by channel, and one reading of it is
written back elsewhere.

    S_t = (diag(exp(log_decay_t)) + b_t a_t^T) S_{t-1} + k_t v_t^T          y_t = S_t^T q_t

Shapes   q, k, a, b, log_decay (B,T,H,K)   v (B,T,H,V)   S (B,H,K,V)
         reset (B,T) bool: nothing is remembered from before such a token
Source   arXiv 2503.14456 (the delta rule, generalised)

With a = -k, b = beta k and k = beta k it is the delta rule. Log-decays are finite and at most 0; a and b are such that
no transition expands much. The state is float32, float64 for float64 inputs; y has the dtype of v. A token with k = 0,
b = 0 and log_decay = 0 leaves no trace.
"""

from ..dispatch import Op
from ..toolkit.chunks import state_dtype
from .chunked import dplr_scan_chunked
from .reference import dplr_scan_reference


def _flops(q, k, v, a, b, log_decay, *, initial_state=None, reset=None) -> int:
    B, T, H, V = v.shape
    K = q.shape[-1]
    return B * T * H * (9 * K * V + K)


def _fake(q, k, v, a, b, log_decay, *, initial_state=None, reset=None):
    dtype = state_dtype(v)
    B, _, H, V = v.shape
    return v.new_empty(v.shape), v.new_empty(B, H, q.shape[-1], V, dtype=dtype)


dplr_scan = Op(
    "dplr_scan",
    reference=dplr_scan_reference,
    chunked=dplr_scan_chunked,
    flops=_flops,
    fake=_fake,
)
