"""An encoder reads the source, a decoder writes the answer and reads the encoder at every layer: T5, version 1.1.

Source   arXiv 1910.10683; gated channels and the untied head 2002.05202    Family  foundations
Claim    one model from text to text for every task of language
Differs  bytes in place of subwords unless a size says otherwise; no dropout; taught to answer, not to fill spans;
         scores are scaled, where the paper starts queries smaller (mixer.scale=1 reads its weights)
"""

from typing import Annotated, Any

from blockyard.core.settings import Count, Dim, HeadDim, Heads, Inner, Layers, Vocab
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
    position,
    residual,
    stem,
    system,
    tower,
)


def recipe(
    dim: Dim = 256, layers: Annotated[Layers, "layers of the encoder, and of the decoder"] = 4,
    heads: Heads | None = None, head_dim: HeadDim | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    buckets: Annotated[Count, "buckets of distance in each of both"] = 32,
) -> Spec:  # fmt: skip
    heads = heads or max(1, dim // 32)
    size = dict(heads=heads, head_dim=head_dim)
    near, fine = position("t5", buckets=buckets), norm("rms", eps=1e-6)
    gated = channel("gated", inner=ffn, activation=activation("gelu"))
    body: dict[str, Any] = dict(dim=dim, residual=residual("prenorm", norm=fine), depth=depth("stack", layers=layers))
    encoder = model(
        stem=stem("tokens", vocab=vocab), blocks=(block("layer", mixer("attention", position=near, **size), gated),),
        head=head("stream", norm=fine), causal=False, **body,
    )  # fmt: skip
    decoder = block("layer", mixer("attention", position=near, **size), mixer("cross", **size), gated)
    return system(model(
        stem=stem("shared"), blocks=(decoder,), head=head("lm", tied=False, norm=fine), **body,
        towers=(tower("source", encoder, question=True),),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2),
    "77m": dict(dim=512, layers=8, heads=6, head_dim=64, ffn=1024, vocab=32128),
    "248m": dict(dim=768, layers=12, heads=12, head_dim=64, ffn=2048, vocab=32128),
}
expect = {"77m": dict(params=(76_961_152, 0.0)), "248m": dict(params=(247_577_856, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
