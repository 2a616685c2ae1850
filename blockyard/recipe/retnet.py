"""RetNet: retention, a fixed decay for each head, with gated channels.

Source   arXiv 2307.08621    Family  recurrent
Claim    training in parallel, decoding at constant cost, and Transformer quality at once
Differs  RMS norms throughout (paper: layer norms, group norm in the heads); bytes in place of subwords
"""

from blockyard.core.settings import Dim, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, activation, block, channel, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    tied: Tied = True,
) -> Spec:  # fmt: skip
    channels = channel("mlp", inner=ffn or 2 * dim, activation=activation("gelu"))
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("retnet", heads=heads or max(1, dim // 32)), channels),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=layers),
        head=head("lm", tied=tied),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, layers=2), "1.3b": dict(dim=2048, layers=24, heads=8, vocab=50257)}
expect = {"1.3b": dict(params=(1.3e9, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
