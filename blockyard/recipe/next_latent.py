"""LLaMA that is also taught to say its own next state.

Source   arXiv 2511.05963    Slug  next-latent    Family  objective
Claim    states that tell the next one keep what matters of the past in fewer directions
Differs  the body of LLaMA, with a table of the head's own
"""

from typing import Annotated

from blockyard.core.settings import Count, Dim, Heads, Inner, Layers, NonNegative, Vocab
from blockyard.core.spec import Spec, head, objective, phase
from blockyard.recipe.llama import recipe as llama


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, vocab: Vocab = 256, *,
    horizon: Annotated[Count, "how many states are said from each"] = 1,
    states: Annotated[NonNegative, "what the distance of states is multiplied by"] = 1.0,
    scores: Annotated[NonNegative, "what the divergence of their predictions is multiplied by"] = 1.0,
) -> Spec:  # fmt: skip
    body = llama(dim, layers, heads, ffn=ffn, vocab=vocab)
    body = body.but(model=body["model"].but(head=head("lm", tied=False, norm=body["model"]["head"]["norm"])))
    latent = objective("next_latent", horizon=horizon, states=states, scores=scores)
    return body.but(program=(phase(latent),))


sizes = {"tiny": dict(dim=32, layers=2)}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
