"""Switch Transformer: a pre-norm decoder whose channels are experts, one of which each token uses.

Source   arXiv 2101.03961    Family  depth
Claim    many experts and one of them a token learn faster than one channel of the same work
Differs  rotary positions; experts in every layer (paper: in every second); no expert is ever full
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    experts: Annotated[Count, "channels of which each token uses one"] = 4,
) -> Spec:  # fmt: skip
    many = channel("experts", experts=experts, expert=channel("mlp", inner=ffn))
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("attention", heads=heads or max(1, dim // 32)), many),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=layers),
        head=head("lm"),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, layers=2), "base": dict(dim=768, layers=12, heads=12, ffn=3072, vocab=32000, experts=128)}
expect = {"base": dict(params=(7.3e9, 0.02))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
