"""Qwen 3: a norm on the queries and keys of each head; no biases and no window there."""

from blockyard.interop.runs import DECODER, NO_BIAS, NO_WINDOW, RMS, SILU, Runs

RUNS = Runs(arch="qwen3", keys=DECODER | RMS, only=SILU | NO_BIAS | NO_WINDOW)
