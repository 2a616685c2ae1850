"""A scalar memory whose gates read what was said before, head by head.

    i, f, z, o = x_t + R h_{t-1}                          m_t = max(log sigmoid(f) + m_{t-1}, i)
    c_t = e^(log sigmoid(f) + m_{t-1} - m_t) c_{t-1} + e^(i - m_t) tanh(z)        n_t the same with 1 for tanh(z)
    h_t = sigmoid(o) c_t / n_t

Shapes   x (B,T,4,H,P), gates in the order i, f, z, o   R (4,H,P,P), from the last to the one before   h (B,T,H,P)
         state (B,4,H,P): h, c, n, m        reset (B,T) bool: nothing is remembered from before such a token
         valid (B,T) bool: which tokens are read; None: all
Source   arXiv 2405.04517

A gate reads the last answer through a tanh and a quotient: there is no form over chunks, and every implementation goes
token by token. c and n are divided by e^m, so no exponent is positive; n is at least 1. The state is float32, float64
for float64 inputs; h has the dtype of x.
"""

from ..dispatch import Op
from ..toolkit.chunks import state_dtype
from .reference import slstm_scan_reference


def _flops(x, recurrent, *, initial_state=None, reset=None, valid=None) -> int:
    B, T, _, H, P = x.shape
    return B * T * H * P * (8 * P + 16)


def _fake(x, recurrent, *, initial_state=None, reset=None, valid=None):
    B, T, _, H, P = x.shape
    return x.new_empty(B, T, H, P), x.new_empty(B, 4, H, P, dtype=state_dtype(x))


slstm_scan = Op("slstm_scan", reference=slstm_scan_reference, chunked=slstm_scan_reference, flops=_flops, fake=_fake)
