"""How likely continuations are behind their contexts, many at once: what tasks with given answers are scored by.

    log p(y | x) = sum_t log p(y_t | x, y_<t)         x context, y continuation: ids, one of each at least

Contexts that several continuations share are read once: the state behind them is branched. A model whose rows are not
kept apart is asked one row at a time; what a state refuses, such as positions that follow from a text's length, is read
whole. Where a model takes `length` tokens, x loses those at its left that do not fit.

Shapes   a row of the forward (B,T); its scored places (B,C), the last ones of every row; logits (B,C,V), in pieces of C
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from blockyard.core.batch import Batch
from blockyard.core.call import gather
from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.ragged import compact, padded, prefill
from blockyard.model.model import Model

TOKENS, LOGITS = 1 << 12, 1 << 22  # of a forward; of its scores at once
Pair = tuple[Sequence[int], Sequence[int]]  # context, continuation
T = TypeVar("T")


class Likelihood(NamedTuple):
    """Of a continuation: log p in nats, and whether each of its tokens is the likeliest where it stands."""

    logprob: float
    greedy: bool


class _Row(NamedTuple):
    """A pair that is asked for: its number, the context as far as it is read, the continuation."""

    at: int
    context: tuple[int, ...]
    said: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.context) + len(self.said) - 1


@torch.no_grad()
def likelihoods(
    model: Model, pairs: Sequence[Pair], *, length: int | None = None, rows: int | None = None,
    done: Callable[[int], object] | None = None,
) -> list[Likelihood]:  # fmt: skip
    """The likelihood of each continuation behind its context.

    length   tokens that the model reads at most: of a longer context the left is cut; None: any
    rows     of a forward, at most, but for those of one context; None: as many as have some thousand tokens
    done     is told of how many pairs more are ready
    """
    model.require("causal", "scoring a continuation")
    asked = [_cut(i, pair, length) for i, pair in enumerate(pairs)]
    found: list[Likelihood | None] = [None] * len(asked)
    scorer = _Scorer(model, rows)
    for some, scores in scorer.scored(asked):
        for row, score in zip(some, scores):
            found[row.at] = score
        if done is not None:
            done(len(some))
    return [each for each in found if each is not None]


def _cut(at: int, pair: Pair, length: int | None) -> _Row:
    """A pair with as much of its context as the model reads; the last token is said and never read."""
    context, said = tuple(pair[0]), tuple(pair[1])
    if not context or not said:
        raise UsageError(f"pair {at + 1}: a context and a continuation have one token each, at least")
    if length is not None:
        if len(said) > length:
            raise UsageError(
                f"a continuation of {len(said)} tokens is longer than the {length} that the model reads; say a larger "
                "length, or shorten it"
            )
        context = context[max(0, len(context) + len(said) - 1 - length) :]
    return _Row(at, context, said)


@dataclass(frozen=True)
class _Scorer:
    model: Model
    rows: int | None

    def scored(self, asked: Sequence[_Row]) -> Iterator[tuple[list[_Row], list[Likelihood]]]:
        """Batches of rows with their scores, the longest contexts first."""
        apart = bool(self.model.claims.get("row_independent"))
        branches = apart and bool(self.model.claims.get("streams"))
        order = sorted(asked, key=lambda row: (-len(row.context), row.context))
        groups, alone = [], list[_Row]()
        for _, each in groupby(order, key=lambda row: row.context):
            group = list(each)
            if branches and len(group) > 1 and len(group[0].context) > 1:
                groups.append(group)
            else:
                alone += group
        for some in self._batches(groups, len, _widest):
            rows = [row for group in some for row in group]
            try:
                found = self._branched(some)
            except UsageError:  # a state that this model cannot have
                alone += rows
            else:
                yield rows, found
        yield from self._whole(alone, apart)

    def _whole(self, rows: Sequence[_Row], apart: bool) -> Iterator[tuple[list[_Row], list[Likelihood]]]:
        """Every row read from its beginning."""
        order = sorted(rows, key=lambda row: -row.size)
        for some in self._batches(order, lambda _: 1, lambda row: row.size) if apart else ([row] for row in order):
            batch = padded([self._ids((*row.context, *row.said[:-1])) for row in some], "right")
            starts = [len(row.context) - 1 for row in some]
            yield some, self._likelihoods(batch, None, starts, [row.said for row in some])

    def _branched(self, groups: Sequence[Sequence[_Row]]) -> list[Likelihood]:
        """Every context read once but for its last token, which begins each of its continuations."""
        _, state = prefill(self.model, padded([self._ids(group[0].context[:-1]) for group in groups]))
        lines = [i for i, group in enumerate(groups) for _ in group]
        state = compact(state).select(torch.tensor(lines, device=self.device))
        rows = [row for group in groups for row in group]
        batch = padded([self._ids((row.context[-1], *row.said[:-1])) for row in rows], "right")
        return self._likelihoods(batch, state, [0] * len(rows), [row.said for row in rows])

    def _likelihoods(
        self, batch: Batch, state: State | None, starts: Sequence[int], said: Sequence[Sequence[int]]
    ) -> list[Likelihood]:
        """Of a batch whose tokens from `starts` on foretell what is said; the head reads these places alone."""
        flow = self.model.run(self.model.start(batch, state))
        width, most = batch.tokens.shape[1], max(map(len, said))
        lines = torch.arange(len(said), device=self.device)[:, None]
        steps = torch.arange(most, device=self.device)[None]
        counts = torch.tensor([len(each) for each in said], device=self.device)[:, None]
        index = lines * width + torch.tensor(starts, device=self.device)[:, None] + steps
        index = torch.where(steps < counts, index, -1)
        targets = pad_sequence([self._ids(each) for each in said], batch_first=True)
        alone = bool(type(self.model.head).claims.get("per_token"))
        whole = None if alone else self.model.finish(flow).logits
        total = torch.zeros(len(said), dtype=torch.float64, device=self.device)
        greedy = torch.ones(len(said), dtype=torch.bool, device=self.device)
        piece = max(1, LOGITS // (len(said) * self.model.axes["stem.vocab"].size))
        for places, wanted in zip(index.split(piece, 1), targets.split(piece, 1)):
            if whole is None:
                call = flow.call.regroup(places)
                logits = self.model.finish(flow._replace(carry=gather(flow.x, places), rule=None, call=call)).logits
            else:
                logits = gather(whole, places)
            wide = logits if logits.dtype == torch.float64 else logits.float()
            each = wide.gather(-1, wanted[..., None])[..., 0] - wide.logsumexp(-1)
            total += each.double().masked_fill(places < 0, 0).sum(1)
            greedy &= ((wide.argmax(-1) == wanted) | (places < 0)).all(1)
        return [Likelihood(*each) for each in zip(total.tolist(), greedy.tolist())]

    def _batches(
        self, items: Sequence[T], rows: Callable[[T], int], width: Callable[[T], int]
    ) -> Iterator[list[T]]:  # fmt: skip
        """Neighbours together, as many as a forward takes; what is larger stands alone."""
        some, high, wide = list[T](), 0, 0
        for item in items:
            higher, wider = high + rows(item), max(wide, width(item))
            if some and (higher * wider > TOKENS or (self.rows is not None and higher > self.rows)):
                yield some
                some, higher, wider = [], rows(item), width(item)
            some.append(item)
            high, wide = higher, wider
        if some:
            yield some

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _ids(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.device)


def _widest(group: Sequence[_Row]) -> int:
    """Tokens for each row of a group: of its continuations, or its share of the context that they have in common."""
    return max(-(-len(group[0].context) // len(group)), max(len(row.said) for row in group))
