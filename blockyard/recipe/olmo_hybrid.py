"""OLMo Hybrid: three Gated DeltaNet layers with eigenvalues down to -1, then one of full attention, repeated.

Source   arXiv 2604.03444    Slug  olmo-hybrid    Family  recurrent
Claim    attention and recurrence together express what neither does alone, and scale better
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.errors import UsageError
from blockyard.core.settings import Dim, Eps, Heads, Inner, Layers, Tied, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    tied: Tied = True, eps: Eps = 1e-6,
) -> Spec:  # fmt: skip
    if layers < 2:
        raise UsageError(f"layers={layers} has no room for both kinds of layer; give at least 2")
    heads, rms = heads or max(1, dim // 32), norm("rms", eps=eps)
    delta = mixer("gated_deltanet", heads=heads, beta_max=2.0)
    attention = mixer("attention", heads=heads, position=None, norm_all=rms)
    channels = channel("gated", inner=ffn)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(
            block("delta", delta, channels),
            block("attention", attention, channels, residual=residual("outnorm", norm=rms)),
        ),
        residual=residual("prenorm", norm=rms),
        depth=depth("hybrid", pattern=f"{min(3, layers - 1)}*delta + attention", layers=layers),
        head=head("lm", tied=tied, norm=rms),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=4),
    "7b": dict(dim=3840, layers=32, heads=30, ffn=11008, vocab=100352, tied=False),
}
expect = {"7b": dict(params=(7.43e9, 0.02))}
knobs = {"layers": 4, "dim": 32, "ffn": 1}  # whole periods of the pattern
