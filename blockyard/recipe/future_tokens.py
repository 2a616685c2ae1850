"""LLaMA whose head is a small decoder that spells out the next tokens from one state.

Source   arXiv 2410.18160    Slug  future-token-prediction    Family  objective
Claim    states that several tokens must be spelt from change more slowly and tell better what a text is about
Differs  the body of LLaMA; of one token ahead it is the same model, taught as usual
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, Share, Vocab
from blockyard.core.spec import Spec, channel, head, mixer, objective, phase, position
from blockyard.recipe.llama import recipe as llama


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256, *,
    ahead: Annotated[Count, "how many tokens are said from each place"] = 8,
    share: Annotated[Share, "of the places of a row, those that are asked in a step"] = 0.25,
    slots: Annotated[Count, "pieces that a state becomes, for the decoder to read"] = 4,
) -> Spec:  # fmt: skip
    heads = heads or max(1, dim // 32)
    spelling = head(
        "future_decoder", slots=slots, mixer=mixer("attention", heads=heads, position=position("rope")),
        cross=mixer("cross", heads=heads), channel=channel("gated", inner=ffn),
    )  # fmt: skip
    body = llama(dim, layers, heads, ffn=ffn, vocab=vocab)
    body = body.but(model=body["model"].but(head=spelling))
    future = objective("future_tokens", count=ahead, share=share if ahead > 1 else 1.0)
    return body.but(program=(phase(future),))


sizes = {"tiny": dict(dim=32, layers=2)}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
