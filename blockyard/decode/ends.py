"""When each row of a batch is finished, and its text so far: stop ids, stop strings, the order of the rows."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.decode.text import Decode, TextStream

Stop = int | str | Sequence[int | str]


class Step(NamedTuple):
    """One token of every row. A row that had finished before has token -1 and log-probability 0.

    tokens (B,)   logprobs (B,): the model's own log p, before any rule   finished (B,): a stop was met, now or before
    text: the new text of each row, cut at its stop, where a `decode` was given
    """

    tokens: Tensor
    logprobs: Tensor
    finished: Tensor
    text: tuple[str, ...] | None = None


class StopTracker:
    """`take` hands out a step for the rows that still run, and keeps in `live` those that run on."""

    def __init__(self, rows: int, stop: Stop, decode: Decode | None) -> None:
        stops = [stop] if isinstance(stop, int | str) else list(stop)
        self.ids, strings = {x for x in stops if isinstance(x, int)}, [x for x in stops if isinstance(x, str)]
        if len(self.ids) + len(strings) < len(set(stops)):
            raise UsageError("a stop is a token id or a string")
        if strings and decode is None:
            raise UsageError("stop strings need decode=, a function from a list of ids to text")
        if any("\ud800" <= char <= "\udfff" for string in strings for char in string):
            raise UsageError("a stop string is not valid Unicode; no text would ever hold it")
        self.rows, self.live = rows, list(range(rows))
        self.streams = [] if decode is None else [TextStream(decode, strings) for _ in range(rows)]

    @property
    def watch(self) -> bool:
        """Whether tokens must be looked at while they are made."""
        return bool(self.ids or self.streams)

    def take(self, tokens: Tensor, logprobs: Tensor, *, final: bool) -> Step:
        """tokens, logprobs of the live rows, in their order; `final`: no token follows."""
        text, whole = [""] * self.rows, (tokens, logprobs)
        if len(self.live) < self.rows:
            live = torch.tensor(self.live, device=tokens.device)
            blank = tokens.new_full((self.rows,), -1), logprobs.new_zeros(self.rows)
            whole = blank[0].index_copy(0, live, tokens), blank[1].index_copy(0, live, logprobs)
        if self.watch:
            kept = []
            for row, token in zip(self.live, tokens.tolist()):
                text[row], ended = self._push(row, token, final)
                if not ended:
                    kept.append(row)
            self.live = kept
        running = set(self.live)
        finished = torch.tensor([row not in running for row in range(self.rows)], device=tokens.device)
        return Step(*whole, finished, tuple(text) if self.streams else None)

    def _push(self, row: int, token: int, final: bool) -> tuple[str, bool]:
        if not self.streams:
            return "", token in self.ids
        stream = self.streams[row]
        if token in self.ids:
            return stream.finish(), True
        text = stream.push(token)
        if final:
            text += stream.finish()
        return text, stream.stopped
