"""Three-Phase: a stream in stripes, each with a norm of its own, turned in every layer, with positions in its mean.

    h_0 = e - mean(e) + 1 / (p + 1)        h <- h + Attn(N(h))        h <- R_l h        h <- h + FFN(N(h))

Source   arXiv 2604.14430    Slug  three-phase    Family  foundations
Claim    a lower perplexity than the plain body, in fewer steps, for some hundred parameters more
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise; output projections start smaller
         the deeper a model is
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Dim, Eps, Heads, Inner, KVHeads, Layers, Tied, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, position, residual, stem, system


def recipe(
    dim: Dim = 384, layers: Layers = 4, heads: Heads | None = None, kv_heads: KVHeads | None = None,
    ffn: Inner | None = None, vocab: Vocab = 256, tied: Tied = True,
    stripes: Annotated[Count, "runs of channels with a norm and a turn of their own; heads are as many for each"] = 3,
    eps: Eps = 1e-6,
) -> Spec:  # fmt: skip
    most = stripes * max(1, dim // (32 * stripes))
    heads = heads or next((n for n in range(most, stripes, -stripes) if dim % (2 * n) == 0), stripes)
    kv_heads = kv_heads or stripes
    if heads % stripes or kv_heads % stripes:
        raise UsageError(f"heads={heads} and kv_heads={kv_heads} must be the same number for each of {stripes} stripes")
    each = norm("group_rms", groups=stripes, eps=eps)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab, position=position("horn")),
        blocks=(
            block("attend", mixer("attention", heads=heads, kv_heads=kv_heads)),
            block("turn", channel("rotate", stripes=stripes), residual=residual("replace")),
            block("widen", channel("gated", inner=ffn)),
        ),
        residual=residual("prenorm", norm=each),
        depth=depth("hybrid", pattern="attend + turn + widen", layers=3 * layers),
        head=head("lm", tied=tied, norm=each),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, stripes=2),
    "123m": dict(dim=768, layers=12, heads=12, kv_heads=3, ffn=2048, vocab=32000, tied=False),
}
expect = {"123m": dict(params=(1.23e8, 0.01))}
knobs = {"layers": 1, "dim": 48, "ffn": 1}
