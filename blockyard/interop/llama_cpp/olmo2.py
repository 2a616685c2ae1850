"""OLMo 2: norms on what sublayers write, and on all queries and all keys at once."""

from blockyard.interop.runs import DECODER, NO_BIAS, RMS, SILU, Runs

RUNS = Runs(arch="olmo2", keys=DECODER | RMS, only=SILU | NO_BIAS, squared=True, whole=True)
