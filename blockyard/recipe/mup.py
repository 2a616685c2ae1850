"""muP: LLaMA whose rates and scores follow from the width and whose strength follows from the depth.

Source   arXiv 2203.03466, 2402.17457    Slug  mup-lr-transfer    Family  foundations
Claim    the rate that is best for a narrow and shallow model is best for a wide and deep one
Differs  a tied table with a factor on the scores; heads of 32 channels at every width, so that attention needs no other
         scale; sublayers count 1 / sqrt(n)
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, optimiser, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    base: Annotated[Count, "the width at which it is the same model under AdamW"] = 64,
) -> Spec:  # fmt: skip
    layer = block("layer", mixer("attention", heads=heads or max(1, dim // 32)), channel("gated", inner=ffn))
    made = model(
        dim=dim, stem=stem("tokens", vocab=vocab, std=base**-0.5), blocks=(layer,),
        residual=residual("scaled_by", power=0.5, norm="rms"), depth=depth("stack", layers=layers),
        head=head("lm", scale=base / dim),
    )  # fmt: skip
    return system(made, optimiser=optimiser("mup", base=base))


sizes = {"tiny": dict(dim=32, layers=2, base=32), "110m": dict(dim=768, layers=12, heads=24, ffn=2048, vocab=32000)}
expect = {"110m": dict(params=(109_529_856, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
