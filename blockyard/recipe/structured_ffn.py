"""Structured channels: both matrices of every MLP are products with few numbers, led at first by full ones.

Source   arXiv 2406.16450    Slug  structured-ffn    Family  foundations
Claim    wide models with structured channels use operations better than dense ones, and a guide trains them further
Differs  bytes in place of subwords unless a size says otherwise; the ranks are those of about a third of the numbers
"""

from typing import Annotated, Literal

from blockyard.core.settings import Dim, Heads, Inner, Layers, Vocab
from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    linear,
    mixer,
    model,
    objective,
    phase,
    residual,
    stem,
    system,
    transform,
)


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    structure: Annotated[Literal["low_rank", "block_dense", "block_shuffle"], "of the MLPs' matrices"] = "low_rank",
    guided: Annotated[bool, "whether full matrices lead them through the first half of training"] = True,
) -> Spec:  # fmt: skip
    made = {
        "low_rank": linear("low_rank", rank=max(1, dim // 4), start="orthonormal"),
        "block_dense": linear("block_dense", blocks=2, rank=max(1, dim // 6) * 2),
        "block_shuffle": linear("block_shuffle", blocks=4, rank=dim),
    }[structure]
    wide = channel("mlp", inner=ffn, linear=linear("guided", base=made) if guided else made)
    asks = objective("next_token")
    half = phase(asks, share=0.5), phase(asks, share=0.5, apply=(transform("detach"),))
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("attention", heads=heads or max(1, dim // 32)), wide),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=layers),
        head=head("lm"),
    ), *(half if guided else (phase(asks),)))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2),
    "s": dict(dim=768, layers=12, heads=12, vocab=32000),
    "xl": dict(dim=2048, layers=24, heads=16, vocab=32000),
}
expect = {"s": dict(params=(7.06e7, 0.02)), "xl": dict(params=(7.2e8, 0.02))}
knobs = {"layers": 1, "dim": 32, "ffn": 4}
