"""One layer without a skip: attention that filters, and an MLP that stores; or attention alone.

Source   arXiv 2508.00901    Slug  one-layer-knowledge    Family  recall
Claim    attention picks the subject and the template, the MLP holds the facts; what was stored can be asked for in a
         new way that was taught of a few
Differs  a reading of the abstract; a norm in front of the head
"""

from typing import Annotated

from blockyard.core.settings import Dim, Heads, Natural, Vocab
from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, residual, stem, system


def recipe(
    dim: Dim = 64, heads: Heads = 1, ffn: Annotated[Natural, "channels inside of the MLP; 0: there is none"] = 256,
    vocab: Vocab = 256,
) -> Spec:  # fmt: skip
    steps = [mixer("attention", heads=heads, position=None)]
    if ffn:
        steps.append(channel("mlp", inner=ffn, activation="relu"))
    return system(model(
        dim=dim, stem=stem("tokens", vocab=vocab), blocks=(block("layer", *steps),), residual=residual("replace"),
        depth=depth("stack", layers=1), head=head("lm", tied=False),
    ))  # fmt: skip


sizes = {"tiny": dict(dim=32, ffn=64)}
knobs = {}
