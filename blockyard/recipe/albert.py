"""ALBERT: one post-norm layer that runs at every depth, behind a narrow table of tokens.

Source   arXiv 1909.11942    Family  foundations
Claim    a ninth of BERT's parameters at the same width and depth, for little of its score
Differs  bytes in place of subwords unless a size says otherwise; spans of up to three tokens are masked, not of words;
         no task of sentence order; the mask is the last id
"""

from typing import Annotated

from blockyard.core.settings import Count, Depths, Dim, Heads, Inner, Vocab
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
    dim: Dim = 256, loops: Annotated[Depths, "how often the layer runs"] = 4, heads: Heads | None = None,
    ffn: Inner | None = None, embed: Annotated[Count, "channels of the table"] = 64, vocab: Vocab = 257,
    length: Annotated[Count, "how many positions are learned"] = 512,
) -> Spec:  # fmt: skip
    exact, spans = norm("layer", eps=1e-12), corrupt("spans", mean=1.6, longest=3, vocab=vocab)
    attention = mixer("attention", heads=heads or max(1, dim // 32), position=None)
    learned = position("learned", length=length)
    return system(model(
        dim=dim,
        stem=stem("segmented", vocab=vocab, dim=embed, position=learned, norm=exact),
        blocks=(block("layer", attention, channel("mlp", inner=ffn, activation=activation("gelu"))),),
        residual=residual("postnorm", norm=exact),
        depth=depth("shared", loops=loops),
        head=head("transformed", norm=exact),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("masked", corrupt=spans)))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, loops=2, embed=16, length=256),
    "12m": dict(dim=768, loops=12, heads=12, ffn=3072, embed=128, vocab=30000),
    "18m": dict(dim=1024, loops=24, heads=16, ffn=4096, embed=128, vocab=30000),
}
expect = {"12m": dict(params=(11_221_680, 0.0)), "18m": dict(params=(16_795_824, 0.0))}
knobs = {"loops": 1, "dim": 32, "ffn": 1}
