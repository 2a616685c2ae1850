"""Read a row of a table by the names of its columns: words for words, one token for a number, nothing for what lacks.

    words    the words of "name cell", a token each        yes or no    the words of the name, where it is yes
    number   mean_i N(E[w_i]) c + b, of the words w_i of the name        nothing    no token
    x = [z; A t_1; A t_2; ...]        t of words: N(E[w])

A word's row of E follows from its letters alone, so any name can be read. No token knows where it stands.

Shapes   cells (B,C) float, not a number where one lacks   x (B,T,D), T = 1 + numbers + the most words of each column
Source   arXiv 2205.09328    Slug  transtab    Family  stem
Differs  whole words, that share rows where their hashes meet, for word pieces; a missing number is no token, not a 0
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Spec, Stem, UsageError, normal, uniform_in
from blockyard.core.random import fold
from blockyard.core.settings import Natural, NormSpec, Vocab, Word

MOST = 12  # words of a cell that are read, its column's name included
NO, YES = {"0", "no", "false", "n", "f"}, {"1", "yes", "true", "y", "t"}
_WORD = re.compile(r"[^\W\d_]+|\d+")


class NamedColumns(Stem):
    reads = "columns"
    around = dict(head=("values", {}))
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(
        self, site: Site, *,
        names: Annotated[tuple[Word, ...], "the names of the columns"] = ("age", "fare", "sex", "alone"),
        levels: Annotated[tuple[Natural, ...], "how many words each column knows; 0: it holds numbers"] = (0, 0, 2, 2),
        words: Annotated[tuple[tuple[str, ...], ...], "these words"] = ((), (), ("male", "female"), ("no", "yes")),
        vocab: Annotated[Vocab, "rows of the table of words"] = 1024,
        norm: Annotated[NormSpec, "the norm of a word"] = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        if [len(known) for known in words] != list(levels) or len(names) != len(levels):
            raise UsageError(f"{site.path}: names, levels and words must tell of the same columns")
        self.levels, stream = levels, site.stream
        rows = site.axis("words", vocab)
        rows.ordered, rows.fixed = True, "a word's row follows from its letters"
        self.vocab = rows
        self.table = site.param("table", (rows, stream), normal((2 / stream.size) ** 0.5))
        self.norm = site.build("norm", norm)
        bound = stream.size**-0.5
        self.bias = site.param("bias", (stream,), uniform_in(-bound, bound))
        self.cls = site.param("cls", (stream,), uniform_in(-bound, bound))
        plain = Spec("linear", "dense")
        self.align = site.linear("align", stream, stream, kind=plain, gain=site.steps**0.5)  # it writes no residual
        numbers = [j for j, count in enumerate(levels) if not count]
        self.numbers = site.buffer("numbers", lambda _: torch.tensor(numbers, dtype=torch.long))
        self.heads = site.buffer("heads", lambda _: _ids([_words(names[j]) for j in numbers], vocab))
        worded = [j for j, count in enumerate(levels) if count]
        cells = [_ids(_cells(names[j], words[j]), vocab) for j in worded]
        width = max([cell.shape[1] for cell in cells], default=0)
        first = [sum(len(cell) for cell in cells[:i]) for i in range(len(cells))]
        places = [i * width + k for i, cell in enumerate(cells) for k in range(cell.shape[1])]
        wide = [torch.nn.functional.pad(cell, (0, width - cell.shape[1]), value=-1) for cell in cells]
        self.worded = site.buffer("worded", lambda _: torch.tensor(worded, dtype=torch.long))
        self.first = site.buffer("first", lambda _: torch.tensor(first, dtype=torch.long))
        self.tops = site.buffer("tops", lambda _: torch.tensor([levels[j] for j in worded], dtype=torch.long))
        self.places = site.buffer("places", lambda _: torch.tensor(places, dtype=torch.long))
        self.cells = site.buffer("cells", lambda _: torch.cat(wide) if wide else torch.zeros(1, 0, dtype=torch.long))

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        cells = torch.randn(rows, len(self.levels), generator=draw)
        for j, count in enumerate(self.levels):
            if count:
                cells[:, j] = torch.randint(0, count + 1, (rows,), generator=draw).float()
        return Batch(cells.masked_fill(torch.rand(cells.shape, generator=draw) < 0.1, torch.nan))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        cells, there = batch.tokens.nan_to_num(), batch.tokens.isfinite()
        numbers = cells[:, self.numbers, None].to(self.table.dtype) * self._names(call) + self.bias
        ids = cells[:, self.worded].long().clamp(min=0)
        ids = self.cells[ids.masked_fill(ids > self.tops, 0) + self.first].masked_fill(~there[:, self.worded, None], -1)
        ids = ids.flatten(1)[:, self.places]
        x = self.align(torch.cat([numbers, self._word(ids, call)], 1), call)
        x = torch.cat([self.cls.expand(len(x), 1, -1), x], 1)
        valid = torch.cat([torch.ones_like(there[:, :1]), there[:, self.numbers], ids >= 0], 1)
        call = call.laid(x.shape[1])
        return x, call._replace(valid=valid, positions=(valid.cumsum(1) - 1).clamp(min=0), aligned=False), state

    def _word(self, ids: Tensor, call: Call) -> Tensor:
        return self.norm(self.table[ids.clamp(min=0)], call)

    def _names(self, call: Call) -> Tensor:
        """(N,D) the mean word of every name of a column of numbers."""
        known = (self.heads >= 0)[..., None]
        return (self._word(self.heads, call) * known).sum(1) / known.sum(1)


def _words(text: str) -> list[str]:
    """The words of a name or a cell, in small letters; what has none is one word."""
    return _WORD.findall(text.lower()) or [text.lower()]


def _cells(name: str, known: Sequence[str]) -> list[list[str]]:
    """The words for each word of a column, from 0, another one, on; of yes or no, those of the name where it is yes."""
    small = [word.lower() for word in known]
    if len(known) == 2 and NO & {*small} and YES & {*small}:
        return [[], *(_words(name) if word in YES else [] for word in small)]
    return [_words(name), *(_words(name) + _words(word) for word in known)]


def _ids(words: Sequence[Sequence[str]], vocab: int) -> Tensor:
    """(n,W) the rows of these words in the table, -1 where there are fewer."""
    width = min(MOST, max((len(each) for each in words), default=0))
    rows = [[fold("word", word) % vocab for word in each[:width]] for each in words]
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows], dtype=torch.long).reshape(len(words), width)
