"""LM-Infinite: LLaMA whose attention reads a window and the first tokens, at distances that are capped.

Source   arXiv 2308.16137    Slug  lm-infinite    Family  foundations
Claim    it reads texts of any length as well as those that it was trained on, at a cost linear in the length
Differs  the paper shapes a trained model so: `llama|lambda_shape:window=128`
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Natural, Vocab
from blockyard.core.spec import Spec, mixer, pattern, position
from blockyard.recipe._body import decoder


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    window: Annotated[Count, "how many of the last tokens are read, the own one counted"] = 128,
    sinks: Annotated[Natural, "how many of the first tokens are always read"] = 4,
) -> Spec:  # fmt: skip
    attention = mixer(
        "attention", heads=heads or max(1, dim // 32), position=position("capped", cap=window),
        pattern=pattern("band", window=window, sinks=sinks),
    )  # fmt: skip
    return decoder(attention, dim=dim, layers=layers, ffn=ffn, vocab=vocab, tied=True)


sizes = {
    "tiny": dict(dim=32, layers=2, window=8, sinks=2),
    "7b": dict(dim=4096, layers=32, heads=32, ffn=11008, vocab=32000, window=4096, sinks=10),
}
expect = {"7b": dict(params=(6.607e9, 0.001))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
