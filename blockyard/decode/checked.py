"""One token after another, each of those that a checker lets follow: what is written keeps its rules.

    p'(v) = p(v) / sum over allowed of p        over the ids that `allowed` names behind a row so far, 0 elsewhere

The checker reads the whole row, the prompt included, and answers for that row alone. What is drawn is the model's
choice among what may follow, not its distribution over whole texts that keep the rules.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.decode.ends import Step, StopTracker
from blockyard.decode.generate import logprob, seeds_of
from blockyard.decode.ragged import Prompt, begun, compact, fits, prefill, rows_of
from blockyard.decode.rules import PLAIN, Draws, SamplingParams, choose, sound
from blockyard.model.model import Model

Checker = Callable[[list[int]], Collection[int]]  # the ids of a row so far -> those that may follow, at least one


@torch.no_grad()
def checked(
    model: Model, prompt: Prompt, tokens: int, allowed: Checker, rules: SamplingParams = PLAIN, *,
    stop: Sequence[int] = (), seeds: Sequence[int] | None = None, chunk: int = 512,
) -> Iterator[Step]:  # fmt: skip
    """Yield a `Step` for each of at most `tokens` new tokens a row, as `generate` does; log p is the model's own.

    prompt     ids (B,T) or a list of rows (T_i)        allowed   the ids that may follow those of a row
    rules      how one of them is chosen                stop      ids that end a row: nothing is asked behind them
    seeds      one a row, its number by default         chunk     tokens of the prompt in one forward
    """
    rows = rows_of(model, prompt)
    own = seeds_of(rows, seeds, tokens, chunk)
    fits(model, rows, tokens)
    ends, ids = StopTracker(len(rows), list(stop), None), [row.tolist() for row in rows]
    draws = Draws("generate", rules, own, rows[0].device)
    logits, state = prefill(model, begun(rows, prompt), model.init_state(len(rows)), chunk=chunk)
    for step in range(tokens):
        live = list(ends.live)
        sound(logits.logsumexp(-1))  # before anything is left out
        only = logits.masked_fill(~_mask(allowed, [ids[row] for row in live], logits), float("-inf"))
        chosen = choose(only, draws(live, [len(ids[row]) for row in live]), rules)
        for row, token in zip(live, chosen.tolist()):
            ids[row].append(token)
        yield ends.take(chosen, logprob(logits, chosen), final=step + 1 == tokens)
        if step + 1 == tokens or not ends.live:
            return
        if len(ends.live) < len(live):
            stays = torch.tensor([live.index(row) for row in ends.live], device=chosen.device)
            chosen, state = chosen[stays], compact(state.select(stays))
        logits, state = prefill(model, chosen[:, None], state)


def _mask(allowed: Checker, rows: Sequence[list[int]], logits: Tensor) -> Tensor:
    """(B,V) which ids may follow each row."""
    mask = torch.zeros_like(logits, dtype=torch.bool)
    for line, ids in zip(mask, rows):
        found = sorted(set(allowed(list(ids))))
        if not found or not 0 <= found[0] <= found[-1] < len(line):
            raise UsageError(
                f"the checker lets {found[:5] or 'nothing'} follow behind {ids[-1]}: at least one id below {len(line)} "
                f"must be let, or {ids[-1]} be a stop"
            )
        line[torch.tensor(found, device=line.device)] = True
    return mask
