"""Mamba-2 with a few attention layers and half of the sublayers MLPs, one sublayer a block, no positions at all.

Source   arXiv 2406.07887    Slug  mamba2-hybrid-study    Family  recurrent
Claim    ahead of an 8 B Transformer on twelve standard tasks, where pure Mamba-2 lags on recall
Differs  heads and states of 32 in place of 64 and 128, and bytes, unless a size says otherwise
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Dim, Heads, Inner, KVHeads, Layers, StateDim, Tied, Vocab
from blockyard.core.spec import Spec, activation, block, channel, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, kv_heads: KVHeads | None = None,
    head_dim: Annotated[Count, "channels of a head"] = 32, state: StateDim = 32,
    groups: Annotated[Count, "groups of heads that share keys and queries"] = 1, ffn: Inner | None = None,
    vocab: Vocab = 256, tied: Tied = True,
) -> Spec:  # fmt: skip
    mamba = mixer("mamba2", head_dim=head_dim, state=state, groups=groups)
    attention = mixer("attention", heads=heads or max(1, dim // 32), kv_heads=kv_heads, position=None)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(
            block("mamba", mamba),
            block("attention", attention),
            block("mlp", channel("mlp", inner=ffn, activation=activation("squared_relu"))),
        ),
        residual=residual("prenorm"),
        depth=depth("hybrid", pattern=" + ".join(spread(2 * layers))),
        head=head("lm", tied=tied),
    ))  # fmt: skip


def spread(count: int) -> list[str]:
    """`count` sublayers: 1 in 14 (at least one) attention, half MLPs, spread evenly; a Mamba first."""
    if count < 4:
        raise UsageError(f"layers={count // 2} has no room for Mamba, attention and MLP sublayers; give at least 2")
    attention = max(1, round(count / 14))
    at = {round((i + 0.5) * count / attention) for i in range(attention)}
    names = ["attention" if i in at else "mamba" for i in range(count)]
    rest = [i for i in range(1, count) if i not in at]
    mlps = count // 2
    for i in range(mlps):
        names[rest[(2 * i + 1) * len(rest) // (2 * mlps)]] = "mlp"
    return names


sizes = {
    "tiny": dict(dim=32, layers=2),
    "8b": dict(dim=4096, layers=28, heads=32, kv_heads=8, head_dim=64, state=128, groups=8, vocab=256000, tied=False),
}
expect = {"8b": dict(params=(8.66e9, 0.05))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
