"""RWKV-7: a delta rule whose channels fade one by one, token shifts, and the first layer's values behind a gate.

Source   arXiv 2503.14456    Family  recurrent
Claim    as good as Transformers of 3 B parameters, with a state of one size, from fewer tokens
Differs  bytes in place of subwords unless a size says otherwise; shares and decays are drawn evenly at first
"""

from typing import Annotated

from blockyard.core.settings import Dim, Heads, Inner, Layers, Rank, Vocab
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
    rank: Annotated[Rank, "channels between the two thin matrices that set decays and rates; twice as many: the gate"]
    = 32,
    value_rank: Annotated[Rank, "the same of those that let the first layer's values in"] = 16,
) -> Spec:  # fmt: skip
    own = mixer("rwkv7", heads=heads or max(1, dim // 32), decay_rank=rank, rate_rank=rank, gate_rank=2 * rank)
    widened = channel("mlp", inner=ffn, activation=activation("squared_relu"))
    after = mixer("before_channel", mixer=mixer("token_shift"), channel=widened, norm=None)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab, norm=norm("layer")),
        blocks=(block("layer", own, after),),
        residual=residual("value_gated", rank=value_rank, norm=norm("layer")),
        depth=depth("stack", layers=layers),
        head=head("lm", tied=False, norm=norm("layer")),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, rank=8, value_rank=4),
    "0.4b": dict(dim=1024, layers=24, heads=16, vocab=65536, rank=64, value_rank=32),
}
expect = {"0.4b": dict(params=(450_767_872, 0.0))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
