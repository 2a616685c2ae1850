"""PowerNorm in a LLaMA-style body: every norm divides by running statistics over tokens, also in backward.

Source   arXiv 2003.07845    Slug  powernorm    Family  foundations
Claim    lower perplexity than layer norm, and far lower than batch norm
Differs  pre-norm, rotary positions and gated channels (paper: post-norm sines); bytes in place of subwords unless a
         size says otherwise
"""

from typing import Annotated

from blockyard.core.settings import Dim, Heads, Inner, Layers, Natural, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    warmup: Annotated[Natural, "steps that divide by the batch's own statistics"] = 100,
) -> Spec:  # fmt: skip
    power = norm("power", warmup=warmup, first=norm("l2"))
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("attention", heads=heads or max(1, dim // 32)), channel("gated", inner=ffn)),),
        residual=residual("prenorm", norm=power),
        depth=depth("stack", layers=layers),
        head=head("lm", norm=power),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, layers=2), "base": dict(dim=512, layers=12, heads=8, ffn=1365, vocab=10000, warmup=10000)}
expect = {"base": dict(params=(4.29e7, 0.02))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
