"""Linear recurrences with a share of full attention: `ratio` layers of one mixer, then one of attention, repeated.

Source   arXiv 2507.06457    Slug  hybrid-linear-attention    Family  recurrent
Claim    the share of attention hardly moves the loss, but recall rises with it; 3 to 6 linear layers for one suffice
Differs  bytes in place of subwords, and a tied head
"""

from typing import Annotated

from blockyard.core.errors import UsageError, unknown
from blockyard.core.settings import Dim, Heads, Inner, Layers, Natural, Tied, Vocab, Word
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, position, residual, stem, system

LINEAR = ("hgrn", "retnet", "gla", "hgrn2", "deltanet", "gated_deltanet")


def recipe(
    dim: Dim = 256, layers: Layers = 4, linear: Annotated[Word, "the recurrent mixer"] = "gated_deltanet",
    ratio: Annotated[Natural, "recurrent layers for each one of attention; 0: attention alone"] = 3,
    heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256, tied: Tied = True,
) -> Spec:  # fmt: skip
    if linear not in LINEAR:
        raise unknown("linear mixer", linear, LINEAR)
    if ratio < 0:
        raise UsageError(f"ratio={ratio} must be at least 0: how many linear layers stand before one of attention")
    heads = heads or max(1, dim // 32)
    recurrence = mixer(linear) if linear == "hgrn" else mixer(linear, heads=heads)
    channels = channel("gated", inner=ffn)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(
            block("linear", recurrence, channels),
            block("attention", mixer("attention", heads=heads, position=position("rope")), channels),
        ),
        residual=residual("prenorm"),
        depth=depth("hybrid", pattern=f"{ratio}*linear + attention" if ratio else "attention", layers=layers),
        head=head("lm", tied=tied),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=4),
    "340m": dict(dim=1024, layers=24, linear="hgrn2", ffn=2816, vocab=32000),
    "1.3b": dict(dim=2048, layers=24, linear="hgrn2", ffn=5632, vocab=32000),
}
expect = {"340m": dict(params=(3.4e8, 0.05)), "1.3b": dict(params=(1.3e9, 0.05))}
knobs = {"layers": 4, "dim": 32, "ffn": 1}  # whole periods of the pattern
