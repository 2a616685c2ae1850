"""A batch: named fields of the tokens, their targets, and which of them count; and the call that it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from blockyard.core.call import Call, Past, resets
from blockyard.core.errors import UsageError
from blockyard.core.state import State


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, and what is known of each token.

    tokens    (B,T) ids, or what else the stem reads, rows first: vectors (B,T,C), images (B,H,W,C)
    targets   what is to be predicted, rows first; of ids (B,T) those to be predicted there; None: the token after
    valid     (B,T) bool: which tokens count; None: all
    segment   (B,T) ids of packed documents; None: one a row
    order     (B,T) who sees whom: keys whose order is not above the query's; 0: all; None: as the model reads
    more      what else a stem, a head or an objective reads, by name, rows first
    readable  (B,T) bool: which tokens others may read; one that none may read keeps its place and its target; None: all

    A segment is a maximal run of equal ids among the tokens that count, so that attention, recurrences and convolutions
    agree on it: an id that comes back begins another segment.
    """

    tokens: Tensor
    targets: Tensor | None = None
    valid: Tensor | None = None
    segment: Tensor | None = None
    order: Any = None
    more: Mapping[str, Tensor] = field(default_factory=dict)
    readable: Tensor | None = None

    @staticmethod
    def of(value: "Batch | Tensor") -> "Batch":
        """A batch as it is, or one of tokens (B,T) that all count."""
        return value if isinstance(value, Batch) else Batch(value)

    def rows(self, index: Any) -> "Batch":
        """Some rows of the batch (a micro-batch)."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        more = {name: value[index] for name, value in self.more.items()}
        return replace(self, **{k: v[index] for k, v in picked.items() if isinstance(v, Tensor)}, more=more)

    def before_targets(self) -> Tensor:
        """(B,T) the tokens that count and stand before the first one whose target is asked for."""
        targets = self.targets
        if targets is None or targets.shape[:2] != self.tokens.shape[:2]:
            given = "none" if targets is None else f"targets {tuple(targets.shape)}"
            raise UsageError(
                f"what stands before the first question is said by targets of tokens {tuple(self.tokens.shape[:2])}, "
                f"not by {given}"
            )
        asked = targets.isfinite() if targets.is_floating_point() else targets >= 0
        before = asked.flatten(2).any(2).cumsum(1) == 0 if asked.dim() > 2 else asked.cumsum(1) == 0
        return before if self.valid is None else before & self.valid

    def led(self, first: int, many: int) -> "Batch":
        """The batch with so many virtual tokens before each row, of the ids from `first` on; all of them count."""
        rows = len(self.tokens)
        ids = torch.arange(first, first + many, device=self.tokens.device).expand(rows, many)
        valid = None if self.valid is None else torch.cat([self.valid.new_ones(rows, many), self.valid], 1)
        return replace(self, tokens=torch.cat([ids.to(self.tokens.dtype), self.tokens], 1), valid=valid)

    @property
    def count(self) -> Tensor:
        """() how many tokens count; of what is no row of tokens, how many rows there are."""
        whole = self.tokens.shape[: 2 if self.tokens.dim() == 2 else 1].numel()
        return torch.tensor(whole, device=self.tokens.device) if self.valid is None else self.valid.sum()

    def resets(self) -> Tensor | None:
        """(B,T) true where a segment begins, at the start of a row apart; None for a batch that is not packed."""
        return None if self.segment is None else resets(self.segment, self.valid)

    def unpacked(self) -> "Batch":
        """One row a segment, padded on the right: what a batch must be to keep a state of every segment."""
        reset = self.resets()
        if reset is None:
            return self
        if self.more:
            raise UsageError(
                f"a packed batch has one row for many documents: whose {', '.join(self.more)} would it be?"
            )
        rows, length = self.tokens.shape[:2]
        valid = torch.ones_like(reset) if self.valid is None else self.valid
        lines = torch.arange(rows, device=self.tokens.device)[:, None].expand_as(reset)
        names, owner = torch.stack([lines[valid], reset.cumsum(1)[valid]]).unique(dim=1, return_inverse=True)
        flat = torch.arange(rows * length, device=self.tokens.device).reshape(rows, length)[valid]
        lists = [flat[owner == i] for i in range(names.shape[1])]
        index = torch.nn.utils.rnn.pad_sequence(lists, batch_first=True, padding_value=-1)

        def take(x: Any) -> Any:
            return x.flatten(0, 1)[index.clamp(min=0)] if isinstance(x, Tensor) else x

        readable = take(self.readable)
        return Batch(take(self.tokens), take(self.targets), index >= 0, None, take(self.order), readable=readable)

    def call(self, state: State | None, *, causal: bool) -> tuple[Call, State | None]:
        """The call of this batch after `state`, and the state with this batch's slots appended.

        Positions count valid tokens, restart at every segment and go on from the past, row by row.
        """
        rows, length = self.tokens.shape[:2]
        device = self.tokens.device
        aligned = self.valid is None and self.segment is None and (state is None or state.aligned)
        if state is not None and self.segment is not None:
            raise UsageError("a packed batch keeps no state; use batch.unpacked(), one row a segment")
        reset = self.resets()
        segment = None if reset is None else reset.cumsum(1)
        positions = torch.arange(length, device=device).expand(rows, length)
        if not aligned and (self.valid is not None or reset is not None):
            valid = torch.ones_like(positions) if self.valid is None else self.valid.long()
            counted = valid.cumsum(1)
            before = counted.new_zeros(()) if reset is None else torch.where(reset, counted - valid, 0).cummax(1).values
            positions = (counted - 1 - before).clamp(min=0)
        order = self.order if self.order is not None or causal else 0
        if state is None:
            call = Call(positions, self.valid, segment, reset, order, aligned=aligned, memo={}, readable=self.readable)
            return call, None
        if self.readable is not None:
            raise UsageError("a state keeps every token readable; a batch in which some are not is read at once")
        positions = positions + state.length[:, None] + state.lead
        here = positions if self.valid is None else positions.masked_fill(~self.valid, -1)
        slots = torch.cat([state.positions, here], 1)
        orders = None
        if isinstance(order, Tensor):
            orders = torch.cat([state.positions if state.order is None else state.order, order], 1)
        seen = length if self.valid is None else self.valid.sum(1)
        state = replace(state, positions=slots, length=state.length + seen, aligned=aligned, order=orders)
        return Call(
            positions, self.valid, None, None, order, Past(slots, orders, state.int8_cache), aligned=aligned, memo={}
        ), state
