"""GLA language model: gated linear attention in a LLaMA-style body.

Source   arXiv 2312.06635    Slug  gla    Family  recurrent
Claim    near Transformer quality at equal size and tokens
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.settings import Dim, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, mixer
from blockyard.recipe._body import decoder


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    tied: Tied = True,
) -> Spec:  # fmt: skip
    own = mixer("gla", heads=heads or max(1, dim // 32))
    return decoder(own, dim=dim, layers=layers, ffn=ffn, vocab=vocab, tied=tied)


sizes = {
    "tiny": dict(dim=32, layers=2),
    "340m": dict(dim=1024, layers=24, heads=4, ffn=2816, vocab=32000),
    "1.3b": dict(dim=2048, layers=24, heads=4, ffn=5632, vocab=32000, tied=False),
}
expect = {"340m": dict(params=(3.4e8, 0.05)), "1.3b": dict(params=(1.36e9, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
