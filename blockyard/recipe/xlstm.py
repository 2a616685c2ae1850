"""xLSTM: matrix memories with exponential gates in a LLaMA-style body, scalar memories in some layers where asked for.

Source   arXiv 2405.04517, 2503.13427    Family  recurrent
Claim    as good as Transformers and state spaces of its size, in time that is linear in the length
Differs  matrix memories alone, as the 7 B model has them, unless a pattern says otherwise; bytes in place of subwords
         and narrower channels unless a size says otherwise
"""

from typing import Annotated

from blockyard.core.settings import Dim, Heads, Inner, Layers, Vocab, Word
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    norm,
    residual,
    stem,
    system,
)


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    pattern: Annotated[Word, "a period of layers, of `matrix` and `scalar`, such as 7*matrix + scalar"] = "matrix",
) -> Spec:  # fmt: skip
    heads, rms = heads or max(1, dim // 64), norm("rms", eps=1e-6)
    kinds = {"matrix": "mlstm", "scalar": "slstm"}
    used = [name for name in kinds if name in pattern] or list(kinds)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=tuple(block(name, mixer(kinds[name], heads=heads), channel("gated", inner=ffn)) for name in used),
        residual=residual("prenorm", norm=rms),
        depth=depth("hybrid", pattern=pattern, layers=layers),
        head=head("lm", tied=False, norm=rms, activation=activation("softcap", cap=30.0)),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, pattern="matrix + scalar"),
    "7b": dict(dim=4096, layers=32, heads=8, ffn=10944, vocab=50304),
}
expect = {"7b": dict(params=(6_865_424_896, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
