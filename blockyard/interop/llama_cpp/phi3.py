"""Phi-3: fused projections as they are; factors for long texts by the size of the context; no window there."""

from blockyard.interop.runs import DECODER, NO_BIAS, NO_WINDOW, RMS, SILU, Runs

RUNS = Runs(
    arch="phi3", keys=DECODER | RMS, only=SILU | NO_BIAS | NO_WINDOW, turns=("default", "linear", "yarn", "longrope"),
    squared=True,
)  # fmt: skip
