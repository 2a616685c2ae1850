"""Primer: a decoder with squared ReLU, and short convolutions of queries, keys and values.

Source   arXiv 2109.08668    Slug  primer    Family  foundations
Claim    it reaches a loss with a fraction of the training that the same decoder needs without the two changes
Differs  the two changes that carry the gain (Primer-EZ), without the shared projection of queries and keys and the norm
         behind the channel of the whole search result; rotary positions, turned after the convolution
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Fraction, Heads, Inner, Layers, Vocab
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    norm,
    residual,
    stem,
    system,
)


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    width: Annotated[Count, "tokens that a convolution reads, the own one counted"] = 3,
    own: Annotated[Fraction, "what the own token counts in it at first; 1: it begins as if it were not there"] = 0.5,
) -> Spec:  # fmt: skip
    conv = mixer("short_conv", width=width, own=own, activation=None)
    attention = mixer("attention", heads=heads or max(1, dim // 32), conv=conv)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", attention, channel("mlp", inner=ffn, activation=activation("squared_relu"))),),
        residual=residual("prenorm", norm=norm("layer")),
        depth=depth("stack", layers=layers),
        head=head("lm", norm=norm("layer")),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2),
    "110m": dict(dim=768, layers=12, heads=12, ffn=3072, vocab=32000),
}
expect = {"110m": dict(params=(109_632_000, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
