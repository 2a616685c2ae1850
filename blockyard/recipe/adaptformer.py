"""AdaptFormer: a vision transformer that is trained as a whole, then stays as it is while bottlenecks beside it learn.

Source   arXiv 2205.13535    Slug  adaptformer    Family  adapters
Claim    with less than two hundredths of the numbers it adapts as well as training all of them, or better
Differs  patches by vit; one falling rate for both phases; how else to adapt is a setting
"""

from typing import Annotated, Literal

from blockyard.core.settings import (
    Channels,
    Classes,
    Count,
    Dim,
    Heads,
    Height,
    Inner,
    Layers,
    Patch,
    PhaseData,
    PhaseTask,
    Share,
    Width,
)
from blockyard.core.spec import Spec, objective, phase, system, transform
from blockyard.recipe.vit import recipe as vit


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None,
    height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4, classes: Classes = 10, *,
    whole: Annotated[Share, "the share of the run in which all trains"] = 0.5,
    then: Annotated[
        Literal["beside", "behind", "lora", "head", "all"],
        "what learns after that with the head: bottlenecks beside or behind channels, pairs at attention, nothing, all",
    ] = "beside",
    inner: Annotated[Count, "channels inside a bottleneck"] = 64,
    rank: Annotated[Count, "the rank of pairs; none: as many numbers as bottlenecks have"] | None = None,
    first_data: PhaseData = (), first_task: PhaseTask | None = None,
) -> Spec:  # fmt: skip
    """With images of its own the first phase learns their turns, not classes."""
    body = vit(dim, layers, heads, ffn, height, width, channels, patch, classes)["model"]
    pairs = rank or max(1, round((2 * inner + 1) / 6))  # 6 dim a rank; a bottleneck has (2 inner + 1) dim + inner
    attached = {
        "beside": (transform("adaptformer", inner=inner),),
        "behind": (transform("bottleneck", inner=inner, of="channel", dropout=0.1),),
        "lora": (transform("lora", rank=pairs, on=("*.qkv", "*.out")),),
    }.get(then, ())
    learns = {"head": "head.*", "all": "*"}.get(then, ("attached", "head.*"))
    told = objective("classes")
    first = phase(objective("turns") if first_data else told, share=whole, data=first_data, task=first_task)
    return system(body, first, phase(told, share=1 - whole, apply=attached, train=learns))


sizes = {
    "tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2, inner=4),
    "b": dict(dim=768, layers=12, heads=12, height=224, width=224, patch=16, classes=1000),
}
expect = {"b": dict(params=(87_757_288, 1e-4))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
