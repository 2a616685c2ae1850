"""LifeGPT: a decoder with rotary positions that is taught while some of its keys are hidden.

Source   arXiv 2409.12182    Slug  lifegpt    Family  foundations
Claim    a plain decoder learns a cellular automaton from examples, without being told of the grid
Differs  rotary positions turn all channels of a head; no biases; the rate of the run in place of 1e-4
"""

from typing import Annotated

from blockyard.core.settings import Dim, Fraction, HeadDim, Heads, Inner, Layers, Vocab
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
    objective,
    phase,
    residual,
    stem,
    system,
)  # fmt: skip


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, head_dim: HeadDim | None = None,
    ffn: Inner | None = None, vocab: Vocab = 256, *,
    hidden: Annotated[Fraction, "of the tokens of a row, those that none reads while it is taught"] = 0.15,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 32), head_dim=head_dim)
    return system(
        model(
            dim=dim,
            stem=stem("tokens", vocab=vocab),
            blocks=(block("layer", attention, channel("mlp", inner=ffn, activation=activation("gelu"))),),
            residual=residual("prenorm", norm=norm("layer")),
            depth=depth("stack", layers=layers),
            head=head("lm", tied=False, norm=norm("layer")),
        ),
        phase(objective("forgetful", share=hidden)),
    )


sizes = {"tiny": dict(dim=32, layers=2), "13m": dict(dim=256, layers=12, heads=8, head_dim=64, ffn=1024)}
expect = {"13m": dict(params=(1.27e7, 0.02))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
