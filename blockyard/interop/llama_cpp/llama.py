"""Llama: heads turn neighbouring channels, and the three tables of a layer may have biases."""

from blockyard.interop.runs import DECODER, PAIRED, RMS, SILU, Runs

RUNS = Runs(
    arch="llama", keys=DECODER | RMS, only=SILU, turns=("default", "linear", "yarn", "llama3"), changes=PAIRED
)  # fmt: skip
