"""Several tokens a turn for rows that come and go: guesses behind each of a few rows, read together and checked.

    of the guesses x_1 .. x_k the first n stay, for which t_i = x_i        t_i what the row takes behind x_1 .. x_{i-1}

A guess decides nothing: a row gets the tokens that it gets without. Where the past is a decode program they are read as
one token is, to the last bit. Elsewhere, where a greedy choice is closer than noise, the row is read again from the end
of its prompt, a token at a time as plain decoding does it, and the logits of that count (`speculate` has the same).
What was refused is taken back; where something is recurrent that goes back to the mark before the guesses, and what of
them holds is `owed`: it is read again in front of the next ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.generate import logprob
from blockyard.decode.noise import close, noise_of, seen_along
from blockyard.decode.past import OnProgram, OnState, Past
from blockyard.decode.propose import Proposer, Rows
from blockyard.decode.rules import Draws, choose, integer
from blockyard.decode.speculate import MOST, Counts
from blockyard.model.model import Model

# a forward of 7 tokens a row costs as much as 2.0 of one token for 1 row, 1.8 for 2, then 2.6 for 3, 3.3 for 4 and 3.5
# for 8: measured in processor time of a llama of 11M parameters in bfloat16, as a program on one thread
ROWS = 2
FULL = 32  # bits of a float whose ties are rare; narrower ones tie so often that reading again costs more than it saves


@dataclass(frozen=True)
class Speculation:
    """How rows go ahead, where few run.

    make              a proposer for each row, of those that need no state of the model
    num_speculative   guesses a forward, 1 to 256; fewer are asked for where few hold
    rows              where more of them run nobody guesses: then their tokens fill a forward by themselves
    """

    make: Callable[[], Proposer]
    num_speculative: int = 6
    rows: int = ROWS

    def __post_init__(self) -> None:
        integer("num_speculative", self.num_speculative, 1)
        integer("rows", self.rows, 1)
        if self.num_speculative > MOST:
            raise UsageError(f"num_speculative {self.num_speculative} must be at most {MOST}")
        if self.make().needs_state:
            raise UsageError("a proposer that runs the model itself needs its state, which rows that come and go share")

    @property
    def at_once(self) -> int:
        """Tokens of a row in one forward, at most."""
        return 1 + self.num_speculative + OnProgram.refeed

    def pays(self, past: Past, logits: Tensor) -> bool:
        """Whether as many rows as run here are worth guessing for."""
        few = len(logits) <= self.rows
        return few and (past.exact or torch.finfo(logits.dtype).bits >= FULL)


class Ahead:
    """One row: who guesses for it, how far, and what of its tokens is still to be read."""

    def __init__(self, how: Speculation, model: Model, draws: Draws, ids: list[int], start: State | None) -> None:
        """`ids`: the row's, which grow; `start`: what its prompt left, where many tokens round otherwise than one."""
        self.how, self.model, self.draws, self.ids = how, model, draws, ids
        self.proposer, self.reach, self.owed = how.make(), how.num_speculative, list[int]()
        self.proposer.begin(1)
        self.exact = None if start is None else OnState(model, start)

    def guess(self, past: Past, most: int) -> list[int]:
        """At most so many tokens behind the row."""
        most = min(self.reach, most)
        if most < 1:
            return []
        rows = Rows(self.model, self.draws.rules, self.draws, [0], [self.ids], past)
        return self.proposer.propose(rows, [most]).tokens[0][:most]

    def held(self, logits: Tensor, new: list[int], seen: Tensor | None, counts: Counts) -> tuple[int, Tensor]:
        """How many of the guesses hold, and the logits (V,) behind the last of these; logits (k+1,V) in front of each.

        seen   (V,) which tokens the row holds, where a rule asks
        """
        rules, places = self.draws.rules, [len(self.ids) + i for i in range(len(logits))]
        along = seen_along(seen, new)
        chosen = choose(logits, self.draws([0] * len(places), places), rules, along).tolist()
        told = logprob(logits[:-1], torch.tensor(new, dtype=torch.long, device=logits.device)).isfinite().tolist()
        tolerance = noise_of(self.model) * torch.finfo(logits.dtype).eps
        ties = set(close(logits, rules, along, tolerance)) if rules.greedy and self.exact is not None else set()
        behind = 0
        for behind in range(len(logits)):
            if behind in ties:
                logits[behind] = self._plain(self.ids + new[:behind], counts)
                held = None if along is None else along[behind, None]
                chosen[behind] = int(choose(logits[behind, None], None, rules, held))
            if behind == len(new) or chosen[behind] != new[behind] or not told[behind]:
                break
        if new:
            reach = max(self.reach, behind + 2) if behind == len(new) else behind + 1
            self.reach = min(self.how.num_speculative, reach)
        counts.proposed += len(new)
        counts.accepted += behind
        return behind, logits[behind]

    def _plain(self, ids: list[int], counts: Counts) -> Tensor:
        """The logits (V,) that plain decoding of this row has behind `ids`."""
        assert self.exact is not None
        counts.ties += 1
        logits = None
        for token in ids[int(self.exact.length[0]) :]:
            logits = self.exact.step(torch.tensor([token], device=self.exact.length.device))
            counts.replayed += 1
        assert logits is not None
        return logits[0]
