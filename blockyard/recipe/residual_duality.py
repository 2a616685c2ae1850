"""Mixing along depth, or along the sequence: a LLaMA body whose residual rule reads earlier layers.

Source   arXiv 2603.16039    Slug  residual-duality    Family  foundations
Claim    attention over a token's last layers is the operator that a short window of attention is over its last tokens
Differs  bytes in place of subwords; no size is published
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, ResidualSpec, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, pattern, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    *, residual: ResidualSpec = Spec("residual", "depth_read"),
    local: Annotated[Count, "tokens that one more attention of every layer sees; none: there is none"] | None = None,
) -> Spec:  # fmt: skip
    heads = heads or max(1, dim // 32)
    near = () if local is None else (mixer("attention", heads=heads, pattern=pattern("band", window=local)),)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", *near, mixer("attention", heads=heads), channel("gated", inner=ffn)),),
        residual=residual,
        depth=depth("stack", layers=layers),
        head=head("lm"),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, layers=2)}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
