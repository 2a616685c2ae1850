"""Scan and Snap: one layer of attention over one-hot tokens, a norm, and a decoder, trained by plain descent.

Source   arXiv 2305.16380    Slug  scan-and-snap    Family  in context
Claim    where the decoder is faster attention leaves tokens that many answers share for those of one, the most frequent
         first, and then stays nearly where it is
Differs  a query may read itself; the decoder starts small and not at zero
"""

from typing import Annotated

from blockyard.core.settings import Dim, Positive, Vocab
from blockyard.core.spec import Spec, block, depth, head, mixer, model, optimiser, residual, stem, system


def recipe(
    dim: Dim = 64, vocab: Vocab = 64, *,
    decoder: Annotated[Positive, "the rate of the decoder, in units of the run's"] = 200.0,
    ratio: Annotated[Positive, "how many times the rate of attention that is"] = 10.0,
) -> Spec:  # fmt: skip
    body = model(
        dim=dim, stem=stem("one_hot", vocab=vocab), blocks=(block("layer", mixer("bilinear")),),
        residual=residual("replace"), depth=depth("stack", layers=1), head=head("lm", tied=False, norm="l2"),
    )  # fmt: skip
    descent = Spec("optimiser", "sgd")
    paced = optimiser("paced", of=descent, on=("steps.*",), factor=decoder / ratio, others=decoder)
    return system(body, optimiser=paced, schedule="constant")


sizes = {"tiny": dict(dim=32, vocab=32)}
knobs = {}
