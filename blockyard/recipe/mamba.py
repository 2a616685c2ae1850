"""Mamba: selective state spaces with nothing beside them; two of them count as a layer.

Source   arXiv 2312.00752    Slug  mamba    Family  recurrent
Claim    matches Transformers of twice its size on language, at linear cost
Differs  bytes in place of subwords unless a size says otherwise
"""

from blockyard.core.settings import Dim, Inner, Layers, Vocab
from blockyard.core.spec import Spec, block, depth, head, mixer, model, residual, stem, system


def recipe(dim: Dim = 256, layers: Layers = 4, inner: Inner | None = None, vocab: Vocab = 256) -> Spec:
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("mamba", inner=inner)),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=2 * layers),
        head=head("lm"),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=1),
    "130m": dict(dim=768, layers=12, vocab=50280),
    "2.8b": dict(dim=2560, layers=32, vocab=50280),
}
expect = {"130m": dict(params=(129_135_360, 0.0)), "2.8b": dict(params=(2_768_345_600, 0.0))}
knobs = {"layers": 1, "dim": 16, "inner": 1}
