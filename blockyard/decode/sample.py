"""Plain decoding: one token after another from the model's own state, the same for every architecture.

p = softmax(logits / temperature), cut to the `top_k` likeliest tokens and to the smallest set of mass `top_p`
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.random import uniform
from blockyard.model.model import Model


def choose(
    logits: Tensor, draw: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> Tensor:
    """(B,V) logits and (B,) uniform numbers -> (B,) tokens; a temperature of zero takes the likeliest."""
    if temperature == 0:
        return logits.argmax(-1)
    ranked, ids = (logits.double() / temperature).sort(stable=True, dim=-1, descending=True)
    mass = ranked.softmax(-1)
    keep = mass.cumsum(-1) - mass < top_p
    if top_k is not None:
        keep[..., top_k:] = False
    mass = mass * keep
    reach = (mass.cumsum(-1) / mass.sum(-1, keepdim=True)) <= draw[:, None].double()
    last = keep.sum(-1) - 1
    return ids.gather(-1, reach.sum(-1).minimum(last)[:, None])[:, 0]


@torch.no_grad()
def generate(
    model: Model, prompt: Tensor, tokens: int, *, temperature: float = 1.0, top_k: int | None = None,
    top_p: float = 1.0, seed: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Yield (B,) tokens that continue the prompt (B,T); the same seed gives the same tokens."""
    if prompt.dim() != 2 or prompt.shape[1] == 0:
        raise UsageError("the prompt is empty; give at least one token")
    if temperature < 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise UsageError(f"temperature {temperature} must be >= 0, top_p {top_p} in (0, 1], top_k {top_k} >= 1")
    out = model(prompt, model.init_state(prompt.shape[0]))
    for step in range(tokens):
        draw = uniform(("generate", seed, step), (prompt.shape[0],), prompt.device)
        chosen = choose(out.logits[:, -1], draw, temperature=temperature, top_k=top_k, top_p=top_p)
        yield chosen
        if step + 1 < tokens:
            out = model(chosen[:, None], out.state)
