"""Ladder residual: a LLaMA body whose sublayers do not wait for what the one before them writes.

Of a model whose last layers alone have the rule, the channel in front of them is the first that nobody waits for.

Source   arXiv 2501.06589    Slug  ladder-residual    Family  foundations
Claim    as good as the standard Transformer, with all communication of tensor parallelism hidden behind computation
Differs  bytes in place of subwords, and a tied head, unless a size says otherwise; no stretched positions; a retrofit
         has no rate of its own
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Base, Count, Dim, Eps, Fraction, Heads, Inner, KVHeads, Layers, Natural, Tied, Vocab
from blockyard.core.spec import Spec, objective, phase, residual, transform
from blockyard.recipe.llama import recipe as llama


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, kv_heads: KVHeads | None = None,
    ffn: Inner | None = None, vocab: Vocab = 256, tied: Tied = True, base: Base = 10000.0, eps: Eps = 1e-5, *,
    delay: Annotated[Natural, "how many of the last outputs a sublayer does not read"] = 1,
    last: Annotated[Count, "the last so many layers have the rule, all others are standard; none: all have it"]
    | None = None,
    after: Annotated[Fraction, "the share of the run in which all layers are standard"] = 0.0,
) -> Spec:  # fmt: skip
    body = llama(dim, layers, heads, kv_heads, ffn, vocab, tied, base, eps)
    rule = residual("ladder", delay=delay, norm=body["model"]["residual"]["norm"])
    count = layers if last is None else last
    if count > layers:
        raise UsageError(f"last={count}: there are {layers} layers")
    late = tuple(range(max(0, 2 * (layers - count) - 1), 2 * layers))
    if after:
        told, swap = objective("next_token"), transform("swap_residual", rule=rule, steps=late)
        then = (phase(told, share=1 - after, apply=(swap,)),) if after < 1 else ()
        return body.but(program=(phase(told, share=after), *then))
    if count == layers:
        return body.but(model=body["model"].but(residual=rule))
    for step in late:
        body = body.at(f"steps.{step}.rule", spec=rule)
    return body


sizes = {
    "tiny": dict(dim=32, layers=2),
    "1b": dict(dim=1536, layers=40, heads=24, ffn=4096, vocab=49152, tied=False),
    "8b": dict(dim=4096, layers=32, heads=32, kv_heads=8, ffn=14336, vocab=128256, tied=False, base=500000.0, last=16),
    "70b": dict(dim=8192, layers=80, heads=64, kv_heads=8, ffn=28672, vocab=128256, tied=False, base=500000.0),
}
expect = {
    "1b": dict(params=(1_283_581_440, 1e-7)),
    "8b": dict(params=(8_030_261_248, 1e-7)),
    "70b": dict(params=(70_553_706_496, 1e-7)),
}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
