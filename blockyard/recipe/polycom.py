"""PolyCom: learned polynomials as activations, in the channels of a LLaMA-style body.

Source   arXiv 2411.03884    Slug  polycom    Family  foundations
Claim    lower loss than SwiGLU, GELU, ReLU and squared ReLU of as many parameters
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.settings import ActivationSpec, Dim, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    tied: Tied = True, activation: ActivationSpec = Spec("activation", "poly_norm"),
) -> Spec:  # fmt: skip
    attention, wide = mixer("attention", heads=heads or max(1, dim // 32)), channel("mlp", inner=ffn)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", attention, wide.but(activation=activation)),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=layers),
        head=head("lm", tied=tied),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2),
    "1b": dict(dim=2048, layers=24, heads=16, ffn=8256, vocab=32000, tied=False),
}
expect = {"1b": dict(params=(1.3e9, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
