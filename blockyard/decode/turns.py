"""What a model writes becomes what it is asked next, again and again: a map that is learned, applied many times.

    a_1 = write(p)        p_k = again(a_{k-1})        a_k = write(p_k)

A row whose answer cannot be read is out from then on, and says -1: nothing is filled in for it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.decode.generate import generate
from blockyard.decode.rules import GREEDY, SamplingParams, integer
from blockyard.model.model import Model

Write = Callable[[Tensor], Tensor]
Again = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Turn(NamedTuple):
    """answers (B,L): the tokens of every row; -1 where it was out before   sound (B,): which can be read, and go on"""

    answers: Tensor
    sound: Tensor


def writer(model: Model, tokens: int, rules: SamplingParams = GREEDY) -> Write:
    """Who writes so many tokens behind prompts (B,T): (B,tokens), by default the likeliest ones."""
    integer("tokens", tokens, 1)
    return lambda prompt: torch.stack([step.tokens for step in generate(model, prompt, tokens, rules)], 1)


def turns(write: Write, prompt: Any, times: int, again: Again) -> Iterator[Turn]:
    """Yield a `Turn` for each of so many times; it ends early where no row goes on.

    write    answers (B,L) behind prompts (B,T): `writer(model, tokens)`
    prompt   ids (B,T) of the first question
    again    from answers (n,L) to the prompts (n,T') that come of them, and which (n,) can be read, as arrays
    """
    integer("times", times, 1)
    asked = torch.as_tensor(prompt)
    if asked.dim() != 2 or not len(asked):
        raise UsageError(f"it begins with prompts (B,T), not with ids of shape {tuple(asked.shape)}")
    live = torch.arange(len(asked), device=asked.device)
    rows = len(asked)
    for _ in range(times):
        said = write(asked)
        prompts, sound = (torch.as_tensor(each) for each in again(said.cpu().numpy()))
        stays = sound.to(live.device)
        answers = said.new_full((rows, said.shape[1]), -1).index_copy(0, live, said)
        live = live[stays]
        yield Turn(answers, torch.zeros(rows, dtype=torch.bool, device=live.device).index_fill(0, live, True))
        if not len(live):
            return
        asked = prompts.to(asked.device)[stays]
