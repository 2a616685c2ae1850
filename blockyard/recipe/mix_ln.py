"""Mix-LN: post-norm in the first layers, pre-norm in all that follow.

    layers 0 .. n-1    x <- N(x + F(x))        n = floor(alpha L)
    layers n .. L-1    x <- x + F(N(x))

Source   arXiv 2412.13795    Slug  mix-ln    Family  foundations
Claim    gradients of more even size over depth, deep layers that matter more, and a lower loss than either norm alone
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise; output projections start smaller
         the deeper a model is
"""

from math import floor
from typing import Annotated

from blockyard.core.settings import Dim, Eps, Fraction, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    tied: Tied = True, alpha: Annotated[Fraction, "the share of layers that are post-norm, rounded down"] = 0.25,
    eps: Eps = 1e-5,
) -> Spec:  # fmt: skip
    rms, post = norm("rms", eps=eps), floor(round(alpha * layers, 6))  # 0.29 of 100 layers are 29
    parts = (mixer("attention", heads=heads or max(1, dim // 32)), channel("gated", inner=ffn))
    laid = {"post": (post, residual("postnorm", norm=rms)), "pre": (layers - post, residual("prenorm", norm=rms))}
    laid = {name: (count, rule) for name, (count, rule) in laid.items() if count}
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=tuple(block(name, *parts, residual=rule) for name, (_, rule) in laid.items()),
        residual=residual("prenorm", norm=rms),
        depth=depth("hybrid", pattern=" + ".join(f"{count}*{name}" for name, (count, _) in laid.items())),
        head=head("lm", tied=tied, norm=rms),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=4),
    "71m": dict(dim=512, layers=12, heads=8, ffn=1368, vocab=32000, tied=False, eps=1e-6),
    "250m": dict(dim=768, layers=24, heads=16, ffn=2560, vocab=32000, tied=False, eps=1e-6),
}
expect = {"71m": dict(params=(7.1e7, 0.02)), "250m": dict(params=(2.5e8, 0.02))}
knobs = {"layers": 4, "dim": 32, "ffn": 1}  # whole post-norm layers at the usual share
