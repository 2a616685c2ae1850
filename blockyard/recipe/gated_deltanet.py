"""Gated DeltaNet: the delta rule with a gate on the whole memory, in a LLaMA-style body.

Source   arXiv 2412.06464    Slug  deltanet    Family  recurrent
Claim    ahead of Mamba-2 and DeltaNet on language modelling and recall at equal size
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.settings import BetaMax, Dim, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, mixer
from blockyard.recipe._body import decoder


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    beta_max: BetaMax = 1.0, tied: Tied = True,
) -> Spec:  # fmt: skip
    delta = mixer("gated_deltanet", heads=heads or max(1, dim // 32), beta_max=beta_max)
    return decoder(delta, dim=dim, layers=layers, ffn=ffn, vocab=vocab, tied=tied)


sizes = {
    "tiny": dict(dim=32, layers=2),
    "1.3b": dict(dim=2048, layers=21, heads=6, ffn=5632, vocab=32000, tied=False),
}
expect = {"1.3b": dict(params=(1.37e9, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
renamed = dict(reach="beta_max")
