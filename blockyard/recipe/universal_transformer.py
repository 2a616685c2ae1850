"""Universal Transformer: one post-norm block that loops, told its loop, until each token has halted.

Source   arXiv 1807.03819    Slug  universal-transformer    Family  depth
Claim    a shared block learns to copy and to reverse at lengths where untied layers fail
Differs  a decoder alone; bytes in place of subwords unless a size says otherwise
"""

from typing import Annotated

from blockyard.core.settings import Depths, Dim, Heads, Inner, NonNegative, Vocab
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    depth,
    head,
    linear,
    mixer,
    model,
    norm,
    position,
    residual,
    stem,
    system,
)  # fmt: skip


def recipe(
    dim: Dim = 256, loops: Annotated[Depths, "how often the block runs at most"] = 4, heads: Heads | None = None,
    ffn: Inner | None = None, vocab: Vocab = 256, cost: Annotated[NonNegative, "what a loop costs"] = 0.01,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 32), position=None)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("loop", attention, channel("mlp", inner=ffn, activation=activation("relu"))),),
        residual=residual("postnorm"),
        depth=depth("halting", loops=loops, cost=cost, signal=position("step_signal")),
        head=head("lm", norm=norm("none")),
        linear=linear("dense", bias=True),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, loops=3), "base": dict(dim=1024, loops=6, heads=16, ffn=4096, vocab=32000)}
expect = {"base": dict(params=(4.54e7, 0.005))}
knobs = {"loops": 1, "dim": 32, "ffn": 1}
