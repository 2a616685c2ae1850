"""Gemma: gains are kept as they count; the head is the table of the stem."""

from blockyard.interop.runs import DECODER, NEARLY, NO_BIAS, RMS, TANH, Runs, one_more

RUNS = Runs(
    arch="gemma", keys=DECODER | RMS, only=NO_BIAS | {"hidden_act": TANH, "tie_word_embeddings": (True,)},
    near={"hidden_act": NEARLY}, changes={"norm.weight": one_more},
)  # fmt: skip
