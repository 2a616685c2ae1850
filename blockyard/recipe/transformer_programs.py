"""Transformer programs: heads that match and count and tables that look up, on a stream that nothing is added to.

Source   arXiv 2306.01128    Slug  transformer-programs    Family  programs
Claim    near a Transformer on small algorithms, and what is learned is a program that can be read
Differs  left to right; a layer is its matching heads, its counting heads and its tables, one after the other
"""

from typing import Annotated

from blockyard.core.settings import Count, Heads, Inner, Layers, Positive, Values, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, optimiser, residual, stem, system


def recipe(
    values: Values = 16, layers: Layers = 2, heads: Heads = 4, vocab: Vocab | None = None, *,
    counts: Annotated[Count, "counting heads of a layer"] = 2,
    tables: Annotated[Count, "tables of a layer"] = 2, inner: Inner = 64,
    rate: Annotated[Positive, "the rate, in units of the run's: logits of choices have far to go"] = 15.0,
) -> Spec:  # fmt: skip
    steps = (
        mixer("categorical", heads=heads, values=values), mixer("numeric", heads=counts, values=values),
        channel("lookup", tables=tables, values=values, inner=inner),
    )  # fmt: skip
    quick = optimiser("paced", on=("*",), factor=rate)
    body = model(
        dim=2 * values, stem=stem("one_hot", vocab=vocab or values, places=True), blocks=(block("layer", *steps),),
        residual=residual("append", norm=None), depth=depth("stack", layers=layers),
        head=head("lm", tied=False, norm=None),
    )  # fmt: skip
    return system(body, optimiser=quick)


sizes = {"tiny": dict(values=8, layers=1, heads=2, counts=1, tables=1, inner=16)}
knobs = {}
