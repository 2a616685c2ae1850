"""EvoMoE: dense channels first, then experts grown from them, behind a gate that goes from dense to sparse.

Source   arXiv 2112.14397    Slug  evomoe    Family  depth
Claim    experts that grow from a trained channel end lower than those that are routed sparsely from the start
Differs  a decoder with rotary positions; experts in every layer; one expert a token in evaluation
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Share, Vocab
from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    objective,
    phase,
    residual,
    router,
    stem,
    system,
    transform,
)  # fmt: skip


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256,
    experts: Annotated[Count, "channels that each one grows into"] = 4,
    dense: Annotated[Share, "the share of the run before that"] = 0.3,
    sparse: Annotated[Share, "the share of the run after which a token uses one expert"] = 0.8,
) -> Spec:  # fmt: skip
    gate = router("dense_to_sparse", since=dense, until=sparse)
    grown = transform("upcycle", experts=experts, router=gate)
    body = model(
        dim=dim,
        stem=stem("tokens", vocab=vocab),
        blocks=(block("layer", mixer("attention", heads=heads or max(1, dim // 32)), channel("mlp", inner=ffn)),),
        residual=residual("prenorm"),
        depth=depth("stack", layers=layers),
        head=head("lm"),
    )
    learns = objective("next_token")
    return system(body, phase(learns, share=dense), phase(learns, share=1 - dense, apply=(grown,)))


sizes = {
    "tiny": dict(dim=32, layers=2),
    "base": dict(dim=768, layers=12, heads=12, ffn=3072, vocab=50257, experts=16),
}
expect = {"base": dict(params=(9.73e8, 0.01))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
