"""What another, smaller model with the same vocabulary writes.

    x_{t+i} ~ q( . | x_1 .. x_{t+i-1})        q the draft's distribution, under the rules of the request

Source   arXiv 2211.17192, 2302.01318
Family   proposers
Tags     guesses=model, draws=yes
Differs  nothing known

Its state before the guesses is kept, so nothing has to be taken back: the accepted ones enter together with the next
token, which needs a forward anyway.
"""

from typing import Annotated

import torch

from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.propose import Proposal, Proposer, Rows, roll
from blockyard.decode.ragged import compact
from blockyard.model.model import Model


class Draft(Proposer):
    """Tokens of another `model`. `likeliest`: it does not draw, so that a seed writes the same with speculation as
    without."""

    def __init__(
        self, model: Model, likeliest: Annotated[bool, "whether it takes its likeliest tokens and draws none"] = False
    ) -> None:
        self.model, self.likeliest = model, likeliest
        self._state: State | None = None

    def begin(self, rows: int) -> None:
        self._state = self.model.init_state(rows)

    def select(self, lines: list[int]) -> None:
        assert self._state is not None
        self._state = compact(self._state.select(torch.tensor(lines, device=self._state.length.device)))

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        assert self._state is not None
        theirs, own = (model.axes.get("stem.vocab") for model in (rows.model, self.model))
        if theirs is not None and own is not None and theirs.size != own.size:
            raise UsageError(f"the draft has a vocabulary of {own.size} tokens, the model one of {theirs.size}")
        device = self._state.length.device
        fresh = [torch.tensor(ids[n:], device=device) for ids, n in zip(rows.ids, self._state.length.tolist())]
        proposal, self._state = roll(self.model, fresh, self._state, rows, wanted, self.likeliest)
        return proposal
