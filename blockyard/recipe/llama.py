"""LLaMA: pre-norm attention with rotary positions and gated channels.

Source   arXiv 2302.13971    Family  foundations
Claim    the plain Transformer decoder that later systems are held against
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise
"""

from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, position, residual, stem, system


def recipe(
    dim: int = 256, layers: int = 4, heads: int | None = None, kv_heads: int | None = None, ffn: int | None = None,
    vocab: int = 256, tied: bool = True, base: float = 10000.0, eps: float = 1e-5,
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
