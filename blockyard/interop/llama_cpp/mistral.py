"""Mistral: a llama there too, which reads no window."""

from blockyard.interop.runs import DECODER, NO_WINDOW, PAIRED, RMS, SILU, Runs

RUNS = Runs(
    arch="llama", keys=DECODER | RMS, only=SILU | NO_WINDOW, turns=("default", "linear", "yarn", "llama3"),
    changes=PAIRED,
)  # fmt: skip
