"""A model as a function: rows of ids go in, the ids that it writes behind them come out.

    ask = answers(model, 2, allowed=lambda ids: range(101))        ask(rows, time) -> (n,2)

What asks a model in a loop, such as a search or a game, needs no more of it. A further `time` draws other numbers.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from blockyard.decode.checked import Checker, checked
from blockyard.decode.generate import generate
from blockyard.decode.rules import GREEDY, SamplingParams
from blockyard.model.model import Model


def answers(
    model: Model, tokens: int, rules: SamplingParams = GREEDY, allowed: Checker | None = None
) -> Callable[[np.ndarray, int], np.ndarray]:
    """The function from rows (n,T) of ids, and how often they were asked before, to what is written behind them (n,L).

    tokens   L        rules   how each is chosen; greedily by default        allowed   which may follow; none: any
    """
    device = next(model.parameters()).device

    def ask(rows: np.ndarray, time: int = 0) -> np.ndarray:
        own, prompt = replace(rules, seed=rules.seed + time), torch.from_numpy(np.asarray(rows, np.int64)).to(device)
        steps = (
            generate(model, prompt, tokens, own) if allowed is None else checked(model, prompt, tokens, allowed, own)
        )
        return torch.stack([step.tokens for step in steps], 1).cpu().numpy()

    return ask
