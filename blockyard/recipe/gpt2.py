"""GPT-2: pre-norm attention with learned positions, GELU channels and biases everywhere.

Source   Radford et al. 2019    Family  foundations
Claim    the decoder that most later ones are measured from
Differs  bytes in place of subwords unless a size says otherwise
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Vocab
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
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    length: Annotated[Count, "how many positions are learned"] = 1024,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 32), position=None)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab, position=position("learned", length=length)),
        blocks=(block("layer", attention, channel("mlp", inner=ffn, activation=activation("gelu"))),),
        residual=residual("prenorm", norm=norm("layer")),
        depth=depth("stack", layers=layers),
        head=head("lm", norm=norm("layer")),
        linear=linear("dense", bias=True),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, length=256),
    "124m": dict(dim=768, layers=12, heads=12, vocab=50257),
    "1.5b": dict(dim=1600, layers=48, heads=25, vocab=50257),
}
expect = {"124m": dict(params=(124_439_808, 0.0)), "1.5b": dict(params=(1_557_611_200, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
