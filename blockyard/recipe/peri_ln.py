"""Peri-LN: a norm on what each sublayer reads and on what it writes, in a LLaMA-style body.

Source   arXiv 2502.02732    Slug  peri-ln    Family  foundations
Claim    steadier variance and gradients over depth, and fewer diverging runs, than pre- and post-norm
Differs  bytes in place of subwords unless a size says otherwise; no norm on the embedding
"""

from blockyard.core.settings import Dim, Heads, Inner, Layers, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
) -> Spec:  # fmt: skip
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("attention", heads=heads or max(1, dim // 32)), channel("gated", inner=ffn)),),
        residual=residual("peri"),
        depth=depth("stack", layers=layers),
        head=head("lm"),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, layers=2), "400m": dict(dim=1024, layers=24, heads=16, vocab=32000)}
expect = {"400m": dict(params=(3.4e8, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
