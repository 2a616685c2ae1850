"""LLaMA: pre-norm attention with rotary positions and gated channels.

Source   arXiv 2302.13971    Family  foundations
Claim    the plain Transformer decoder that later systems are held against
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.settings import Base, Dim, Eps, Heads, Inner, KVHeads, Layers, Tied, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, position, residual, stem, system


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, kv_heads: KVHeads | None = None,
    ffn: Inner | None = None, vocab: Vocab = 256, tied: Tied = True, base: Base = 10000.0, eps: Eps = 1e-5,
) -> Spec:  # fmt: skip
    attention = mixer(
        "attention", heads=heads or max(1, dim // 32), kv_heads=kv_heads, position=position("rope", base=base)
    )
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", attention, channel("gated", inner=ffn)),),
        residual=residual("prenorm", norm=norm("rms", eps=eps)),
        depth=depth("stack", layers=layers),
        head=head("lm", tied=tied, norm=norm("rms", eps=eps)),
    ))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2),
    "11m": dict(dim=384, layers=6, heads=6, ffn=1024, vocab=512),
    "110m": dict(dim=768, layers=12, heads=12, ffn=2048, vocab=32000),
    "7b": dict(dim=4096, layers=32, heads=32, ffn=11008, vocab=32000, tied=False, eps=1e-6),
}
expect = {"7b": dict(params=(6.738e9, 0.001))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
