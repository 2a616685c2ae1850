"""Mamba-2: state spaces with one decay per head; two of them count as a layer.

Source   arXiv 2405.21060    Slug  mamba    Family  recurrent
Claim    Mamba's quality with larger states, several times faster to train
Differs  bytes in place of subwords, heads and states of 32 in place of 64 and 128, unless a size says otherwise
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Layers, StateDim, Vocab
from blockyard.core.spec import Spec, block, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 256,
    layers: Layers = 4,
    head_dim: Annotated[Count, "channels of a head"] = 32,
    state: StateDim = 32,
    vocab: Vocab = 256,
) -> Spec:
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("mamba2", head_dim=head_dim, state=state)),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=2 * layers),
        head=head("lm"),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=1),
    "130m": dict(dim=768, layers=12, head_dim=64, state=128, vocab=50288),
    "2.7b": dict(dim=2560, layers=32, head_dim=64, state=128, vocab=50288),
}
expect = {"130m": dict(params=(128_989_632, 0.0)), "2.7b": dict(params=(2_702_599_680, 0.01))}
knobs = {"layers": 1, "dim": 16, "state": 1}
