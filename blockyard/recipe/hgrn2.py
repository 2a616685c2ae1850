"""HGRN-2: a gated recurrence with outer-product states and a floor under forgetting that rises with depth.

Source   arXiv 2404.07904    Family  recurrent
Claim    ahead of Mamba and on par with LLaMA-style Transformers at 1.3 to 3 B parameters
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.settings import Dim, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, mixer
from blockyard.recipe._body import decoder


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    tied: Tied = True,
) -> Spec:  # fmt: skip
    own = mixer("hgrn2", heads=heads or max(1, dim // 32))
    return decoder(own, dim=dim, layers=layers, ffn=ffn, vocab=vocab, tied=tied)


sizes = {
    "tiny": dict(dim=32, layers=2),
    "1.3b": dict(dim=2048, layers=24, heads=16, ffn=5632, vocab=32000, tied=False),
}
expect = {"1.3b": dict(params=(1.36e9, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
