"""MosaicBERT: BERT with a bias by distance in place of positions, gated channels, and twice as many tokens masked.

Source   arXiv 2312.17482    Slug  mosaicbert    Family  documents
Claim    from nothing to the GLUE score of BERT base in an hour of eight GPUs, and above BERT at equal cost
Differs  bytes in place of subwords unless a size says otherwise; no dropout; the mask is the last id; the head runs on
         the asked tokens only, the last layer on all
"""

from blockyard.core.settings import Dim, Heads, Inner, Layers, Vocab
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    corrupt,
    depth,
    head,
    linear,
    mixer,
    model,
    norm,
    objective,
    phase,
    position,
    residual,
    stem,
    system,
)


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 257,
) -> Spec:  # fmt: skip
    exact, alibi = norm("layer", eps=1e-12), position("alibi", slopes="interleaved")
    attention = mixer("attention", heads=heads or max(1, dim // 32), position=alibi)
    return system(model(
        dim=dim,
        stem=stem("segmented", vocab=vocab, norm=exact),
        blocks=(block("layer", attention, channel("gated", inner=ffn, activation=activation("gelu"))),),
        residual=residual("postnorm", norm=exact),
        depth=depth("stack", layers=layers),
        head=head("transformed", norm=exact),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("masked", corrupt=corrupt("mask", share=0.3, vocab=vocab)))).at(
        "steps.*.part.up", bias=False
    )  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2),
    "137m": dict(dim=768, layers=12, heads=12, ffn=3072, vocab=30528),
    "430m": dict(dim=1024, layers=24, heads=16, ffn=4096, vocab=30528),
}
expect = {"137m": dict(params=(137e6, 0.005)), "430m": dict(params=(430e6, 0.015))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
