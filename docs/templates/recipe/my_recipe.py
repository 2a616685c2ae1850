"""Attention over a window, in a LLaMA-style body.

Source   none    Family  foundations
Claim    most of what attention is good for lies near
Differs  nothing known
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Vocab
from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    pattern,
    position,
    residual,
    stem,
    system,
)


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    window: Annotated[Count, "tokens that a query sees, itself included"] = 64,
) -> Spec:  # fmt: skip
    band = pattern("band", window=window)
    attention = mixer("attention", heads=heads or max(1, dim // 32), pattern=band, position=position("rope"))
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", attention, channel("gated", inner=ffn)),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=layers),
        head=head("lm"),
    ))  # fmt: skip


# `tiny` must be there; `expect` may say how many parameters a size has in the source, and how near that must be;
# `knobs` is what a budget may change, from coarse to fine, with the step of each
sizes = {"tiny": dict(dim=32, layers=2), "100m": dict(dim=768, layers=12, vocab=32000)}
expect = {"100m": dict(params=(1.1e8, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
