"""BERT: post-norm attention that sees both sides, taught to name masked tokens.

Source   arXiv 1810.04805    Family  foundations
Claim    one encoder, trained on text with tokens hidden, that most tasks of language can start from
Differs  bytes in place of subwords unless a size says otherwise; no next-sentence task, no pooled token and no dropout;
         the mask is the last id
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Vocab
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
    length: Annotated[Count, "how many positions are learned"] = 512,
) -> Spec:  # fmt: skip
    exact = norm("layer", eps=1e-12)
    attention = mixer("attention", heads=heads or max(1, dim // 32), position=None)
    return system(model(
        dim=dim,
        stem=stem("segmented", vocab=vocab, position=position("learned", length=length), norm=exact),
        blocks=(block("layer", attention, channel("mlp", inner=ffn, activation=activation("gelu"))),),
        residual=residual("postnorm", norm=exact),
        depth=depth("stack", layers=layers),
        head=head("transformed", norm=exact),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("masked", corrupt=corrupt("mask", vocab=vocab))))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, length=256),
    "110m": dict(dim=768, layers=12, heads=12, ffn=3072, vocab=30522),
    "340m": dict(dim=1024, layers=24, heads=16, ffn=4096, vocab=30522),
}
expect = {"110m": dict(params=(109_514_298, 0.0)), "340m": dict(params=(335_174_458, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
