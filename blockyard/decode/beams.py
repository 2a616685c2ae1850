"""The likeliest continuations that a search of limited width finds.

    score = log p(tokens) / length ** power          length counts the new tokens, the stop among them

Each step keeps the `width` likeliest beginnings that have not stopped; whatever stops enters the list of the best
`width` endings by score. The search ends early only when no beginning can still reach that list: its log p can but
fall, and no length divides by more than that of `tokens`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.call import widest_dtype
from blockyard.core.errors import UsageError
from blockyard.decode.ragged import Prompt, begun, fits, prefill, rows_of
from blockyard.decode.rules import integer, sound
from blockyard.model.model import Model

MOST = 1024  # beginnings side by side: each has a state of its own


class Beam(NamedTuple):
    """tokens: the new ones, with the stop that ended them, if one did."""

    tokens: list[int]
    logprob: float
    score: float


@torch.no_grad()
def beams(
    model: Model, prompt: Prompt, tokens: int, *, width: int = 4, power: float = 1.0, stop: Sequence[int] = (),
    chunk: int = 512,
) -> list[Beam]:  # fmt: skip
    """The likeliest continuations of one row of ids, the best first.

    prompt   one row of ids: (1,T)               tokens   new ones at most       width   beams, 1 to 1024
    power    a score is log p over the length to this power: 0 likes short texts, 1 is the mean a token
    stop     ids that end a text                 chunk    tokens of the prompt in one forward
    """
    rows = rows_of(model, prompt)
    if len(rows) != 1:
        raise UsageError(f"a search continues one row, given {len(rows)}; search them one after another")
    for name, value in (("width", width), ("tokens", tokens), ("chunk", chunk)):
        integer(name, value, 1)
    if width > MOST or not 0 <= power < float("inf"):
        raise UsageError(f"width {width} must be at most {MOST}, power {power} at least 0")
    fits(model, rows, tokens)
    logits, state = prefill(model, begun(rows, prompt), chunk=chunk)
    if any(not 0 <= ident < logits.shape[1] for ident in stop):
        raise UsageError(f"stop {[*stop]}: token ids go from 0 to {logits.shape[1] - 1}")
    ends = torch.tensor([*stop], dtype=torch.long, device=logits.device)
    written, total = rows[0].new_zeros(1, 0), logits.new_zeros(1, dtype=widest_dtype(logits.device))
    best: list[Beam] = []
    for length in range(1, tokens + 1):
        reach = total[:, None] + logits.to(total.dtype).log_softmax(-1)
        sound(reach.amax(-1))
        best = _best(best + _ended(written, reach, ends, length**power), width)
        reach[:, ends] = float("-inf")
        total, index = reach.flatten().topk(min(width, reach.numel()))
        index, total = index[total > float("-inf")], total[total > float("-inf")]
        line, token = index // reach.shape[1], index % reach.shape[1]
        written = torch.cat([written[line], token[:, None]], 1)
        hopeless = len(best) == width and float(total.max()) / tokens**power <= best[-1].score if len(total) else True
        if hopeless or length == tokens:
            break
        logits, state = prefill(model, token[:, None], state.select(line))
    if written.shape[1] == tokens:
        whole = [Beam(ids, p, p / tokens**power) for ids, p in zip(written.tolist(), total.tolist())]
        best = _best(best + whole, width)
    return best


def _ended(written: Tensor, reach: Tensor, ends: Tensor, scale: float) -> list[Beam]:
    """Every beginning with every stop behind it."""
    found = []
    for ids, values in zip(written.tolist(), reach[:, ends].tolist()):
        found += [Beam([*ids, end], p, p / scale) for end, p in zip(ends.tolist(), values) if p > float("-inf")]
    return found


def _best(found: list[Beam], width: int) -> list[Beam]:
    return sorted(found, key=lambda beam: -beam.score)[:width]
