"""Tensor functions: the literal reference first, its fast implementations after. Needs torch only.

Everything about an op lies in its own folder: `op.py` (the equations, what it costs, the shapes of its results),
`reference.py` (the literal loop), `chunked.py` (the same in the framework's operations, faster), `cpu.py` (compiled
loops) and `emit.py` (what it becomes when a whole model is compiled for one token after another). What loops share is
`toolkit/`; what runs emitted instructions is `program/`.
"""

from .conv import causal_conv
from .cross_entropy import cross_entropy
from .decayed import decayed_scan
from .delta import delta_scan
from .diagonal import diagonal_scan
from .dispatch import count_flops, exact, force
from .dplr import dplr_scan
from .gathered import gathered_linear, largest
from .matrix import linear
from .pointwise import gated, rms_norm, rotate, swiglu
from .selective import selective_scan
from .slstm import slstm_scan
from .softmax import attend, attend_scores, attend_values, attend_weights
from .weights import packed_linear

__all__ = [
    "attend",
    "attend_scores",
    "attend_values",
    "attend_weights",
    "causal_conv",
    "count_flops",
    "cross_entropy",
    "decayed_scan",
    "delta_scan",
    "diagonal_scan",
    "dplr_scan",
    "exact",
    "force",
    "gated",
    "gathered_linear",
    "largest",
    "linear",
    "packed_linear",
    "rms_norm",
    "rotate",
    "selective_scan",
    "slstm_scan",
    "swiglu",
]
