"""A LLaMA that trains on short rows, then learns by a flow of its rotary speeds to read much longer ones.

Source   arXiv 2310.16450    Slug  clex    Family  positions
Claim    tuned on short rows it reads rows more than four times as long without loss, and the short ones as before
Differs  one falling rate for both phases; what stands in place of the flow is a setting
"""

from typing import Annotated, Literal

from blockyard.core.settings import Base, Count, Dim, Heads, Inner, KVHeads, Layers, Share, Tied, Vocab
from blockyard.core.spec import Spec, objective, phase, position, system, transform
from blockyard.recipe.llama import recipe as llama


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, kv_heads: KVHeads | None = None,
    ffn: Inner | None = None, vocab: Vocab = 256, tied: Tied = True, base: Base = 10000.0, *,
    trained: Annotated[Count, "tokens of the rows it trains on"] = 1024,
    most: Annotated[Count, "how many times as long rows become at most"] = 16,
    whole: Annotated[Share, "the share of the run before positions change"] = 0.7,
    then: Annotated[
        Literal["flow", "interpolated", "larger_base", "same"],
        "what positions become: a learned flow, divided by `most`, of a larger base by the row's length, nothing else",
    ] = "flow",
) -> Spec:  # fmt: skip
    become = {
        "flow": position("clex", trained=trained, most=most, base=base),
        "interpolated": position("interpolated", factor=most, base=base),
        "larger_base": position("dynamic_ntk", trained=trained, base=base),
    }.get(then)
    swap = () if become is None else (transform("swap_position", position=become),)
    body = llama(dim, layers, heads, kv_heads, ffn, vocab, tied, base)["model"]
    told = objective("next_token")
    return system(body, phase(told, share=whole), phase(told, share=1 - whole, apply=swap))


sizes = {
    "tiny": dict(dim=32, layers=2, trained=16, most=4),
    "7b": dict(dim=4096, layers=32, heads=32, ffn=11008, vocab=32000, tied=False, trained=4096),
}
expect = {"7b": dict(params=(6.738e9, 0.001))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
