"""Where two tokens are too close: a forward of many tokens rounds otherwise than one of a single token.

    close at i:   l_1 - l_2 <= tolerance max |l|        l_1, l_2 the two largest logits behind token i

A choice there is not safe: which token is the likeliest depends on how it was computed.
"""

import torch
from torch import Tensor

from blockyard.decode.rules import SamplingParams, penalised
from blockyard.model.model import Model

# units in the last place of the largest logit: in float32 up to 17 a logit were measured in trained models of 1M
# parameters, up to 68 in untrained ones; of the choices on natural text one in about 6,000 is so close
NOISE = 128
# packed matrices, whose products keep 16 bits, have so many times the noise: up to 190 units a logit were measured
PACKED = 16


def noise_of(model: Model) -> int:
    """How far apart logits of the same text may lie, in units in the last place of the largest."""
    packed = any(held.dtype == torch.uint8 for held in model.buffers())
    return NOISE * PACKED if packed else NOISE


def close(logits: Tensor, rules: SamplingParams, seen: Tensor | None, tolerance: float) -> list[int]:
    """The places of logits (n,V) where the two likeliest tokens lie within a tolerance, relative to the largest."""
    if tolerance == 0 or logits.shape[-1] < 2:
        return []
    first = penalised(logits, rules, seen).topk(2, dim=-1).values
    return (first[:, 0] - first[:, 1] <= tolerance * logits.abs().amax(-1)).nonzero()[:, 0].tolist()


def seen_along(seen: Tensor | None, tokens: list[int]) -> Tensor | None:
    """Which tokens a row (V,) holds in front of each of some more, and behind the last of them: (n+1,V)."""
    if seen is None:
        return None
    held = seen.repeat(len(tokens) + 1, 1)
    for i, token in enumerate(tokens):
        held[i + 1 :, token] = True
    return held
