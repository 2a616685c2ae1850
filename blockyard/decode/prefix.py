"""States by the prefix that led to them, so that a turn of a conversation never processes the turns before it again.

A prefix is a chain of pieces of `block_size` tokens, each named by the hash of its tokens and of the piece before it,
the last one possibly shorter. A piece holds its own slots of every cache, the first one those of virtual tokens too,
so a prefix that several conversations share is held once, and the recurrent leaves as they were behind it where they
were seen there; a prefix opens at the last piece that has them. Where bytes run out, the ends of chains go first, the
longest unused before the others.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.renamed import keywords
from blockyard.core.state import Cache, State, tensors, tree_cat
from blockyard.decode.ragged import compact, flatten, prefill, unflatten
from blockyard.model.model import Model

ROOT = b""


Name = bytes  # the class below has an attribute `bytes`


@dataclass
class _Piece:
    before: Name  # the name of the piece that this one continues
    length: int  # tokens up to its end
    caches: list[tuple[tuple[Any, ...], Cache]]
    others: list[tuple[tuple[Any, ...], Tensor]] | None  # None: not seen here
    nbytes: int
    after: int = 0  # pieces that continue it


def _name(before: Name, tokens: Sequence[int]) -> Name:
    return hashlib.sha256(before + array("q", tokens).tobytes()).digest()


def _nbytes(caches: list[Any], others: list[Any] | None) -> int:
    return sum(x.numel() * x.element_size() for _, leaf in [*caches, *(others or [])] for x in tensors(leaf))


class PrefixStore:
    """The prefixes of one `model`, in at most so many `bytes`, cut in pieces of `block_size` tokens.

    Keys and values are kept in 8 bits with `int8_cache`. Weights that change make it worthless: `clear` it then.
    """

    @keywords(granule="block_size")
    def __init__(self, model: Model, block_size: int = 64, bytes: int = 1 << 30, int8_cache: bool = False) -> None:
        if block_size < 1 or bytes < 1:
            raise UsageError(f"block_size {block_size} and bytes {bytes} must be at least 1")
        self.model, self.block_size, self.bytes, self.nbytes = model, block_size, bytes, 0
        self.int8_cache = int8_cache
        self._pieces: dict[Name, _Piece] = {}  # the longest unused first
        self._tails: dict[Name, Counter[int]] = {}  # how many short last pieces of a length follow a piece

    def __len__(self) -> int:
        return len(self._pieces)

    def clear(self) -> None:
        """Forget every prefix."""
        self._pieces, self._tails, self.nbytes = {}, {}, 0

    def open(self, ids: Tensor | Sequence[int]) -> tuple[State, int]:
        """A state of one row after the longest known beginning of `ids`, and how many tokens that is.

        At least the last token is left to be fed: its logits are not kept.
        """
        tokens = _listed(ids)
        chain = self._chain(tokens, len(tokens) - 1)
        for name in chain:
            self._pieces[name] = self._pieces.pop(name)
        while chain and self._pieces[chain[-1]].others is None:
            chain.pop()
        if not chain:
            return self.model.init_state(1, int8_cache=self.int8_cache), 0
        pieces = [self._pieces[name] for name in chain]
        gathered = [
            (path, tree_cat([dict(piece.caches)[path] for piece in pieces], 1)) for path, _ in pieces[-1].caches
        ]
        last, device, lead = pieces[-1], self.model.init_state(1).length.device, self.model.lead
        positions = torch.arange(lead + last.length, device=device)[None]
        length = torch.full((1,), last.length, device=device)
        leaves = unflatten([*gathered, *(last.others or [])])
        return State(positions, length, int8_cache=self.int8_cache, leaves=leaves, lead=lead), last.length

    @torch.no_grad()
    def keep(self, ids: Tensor | Sequence[int], state: State) -> None:
        """Hold on to a state of one row that has seen just these tokens."""
        tokens = _listed(ids)
        state = compact(state)
        if len(state.length) != 1 or int(state.length[0]) != len(tokens) or state.order is not None:
            raise UsageError(f"a state of one row after these {len(tokens)} tokens, causal, is what a store keeps")
        if state.int8_cache != self.int8_cache:
            raise UsageError("this store keeps keys in another precision: give it int8_cache, or take it away")
        if not state.aligned:
            raise UsageError("a state with empty slots cannot be kept")
        caches, others = flatten(state.leaves)
        before, start = ROOT, 0
        while start < len(tokens):
            end = min(start + self.block_size, len(tokens))
            name, here = _name(before, tokens[start:end]), end == len(tokens)
            piece = self._pieces.pop(name, None)
            if piece is None:
                first = start + state.lead if start else 0  # virtual tokens go with the first piece
                cut = [(p, c.slots(first, end + state.lead).each(torch.clone)) for p, c in caches]
                piece = _Piece(before, end, cut, None, _nbytes(cut, None))
                self.nbytes += piece.nbytes
                if before in self._pieces:
                    self._pieces[before].after += 1
                if end - start < self.block_size:
                    self._tails.setdefault(before, Counter())[end] += 1
            if piece.others is None and (here or not others):
                piece.others = [(p, x.clone()) for p, x in others]
                piece.nbytes += (more := _nbytes([], piece.others))
                self.nbytes += more
            self._pieces[name] = piece
            before, start = name, end
        self._shrink()

    def feed(self, ids: Tensor | Sequence[int], *, chunk: int = 512) -> tuple[Tensor, State]:
        """The logits (1,V) behind `ids` and the state after them; what is known is not processed, the rest is kept."""
        *_, (logits, state) = self.pieces(ids, chunk=chunk)
        assert logits is not None
        return logits, state

    def pieces(self, ids: Tensor | Sequence[int], *, chunk: int = 512) -> Iterator[tuple[Tensor | None, State]]:
        """The same, a piece at a time: the state of what is known, that after each piece, the logits with the last."""
        tokens = _listed(ids)
        state, known = self.open(tokens)
        yield None, state
        row = torch.tensor(tokens, device=state.length.device)[None]
        while known < len(tokens):
            # recurrent leaves can be taken up again only where a piece ended while they were there
            ahead = self.block_size - known % self.block_size
            wide = chunk - chunk % self.block_size if known and not flatten(state.leaves)[1] else 0
            end = min(known + ahead + wide, len(tokens))
            logits, state = prefill(self.model, Batch(row[:, known:end]), state, chunk=chunk)
            self.keep(tokens[:end], state)
            known = end
            yield (logits if end == len(tokens) else None), state

    def _chain(self, tokens: list[int], most: int) -> list[Name]:
        """The names of the known pieces that `tokens` begins with, at most so many tokens long."""
        names: list[Name] = []
        before, start = ROOT, 0
        while start + self.block_size <= most:
            name = _name(before, tokens[start : start + self.block_size])
            if name not in self._pieces:
                break
            names.append(name)
            before, start = name, start + self.block_size
        for end in sorted(self._tails.get(before, ()), reverse=True):
            name = _name(before, tokens[start:end])
            if end <= most and name in self._pieces:
                return [*names, name]
        return names

    def _shrink(self) -> None:
        while self.nbytes > self.bytes:
            name = next(name for name, piece in self._pieces.items() if not piece.after)
            piece = self._pieces.pop(name)
            self.nbytes -= piece.nbytes
            if piece.before in self._pieces:
                self._pieces[piece.before].after -= 1
            if piece.length % self.block_size:
                self._tails[piece.before] -= Counter([piece.length])
                if not self._tails[piece.before]:
                    del self._tails[piece.before]


def _listed(ids: Tensor | Sequence[int]) -> list[int]:
    return ids.flatten().tolist() if isinstance(ids, Tensor) else [int(x) for x in ids]
