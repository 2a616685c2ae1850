"""Qwen 2: biases on queries, keys and values; no layer reads a window there."""

from blockyard.interop.runs import DECODER, NO_WINDOW, RMS, SILU, Runs

RUNS = Runs(arch="qwen2", keys=DECODER | RMS, only=SILU | NO_WINDOW, squared=True)
