"""A text in blocks that are the same for every tokenizer, and what each block costs a model.

    borders    of bytes, cut as the test text of a comparison is: G blocks of nearly equal size, at the border of a
               document where one is near, none smaller than a window that a model reads
    c(x)       bits of the text up to byte x: those of all tokens that end there, and of the one that x lies in the
               share that its bytes before x are
    b_g, s_g   bits and bytes of block g, by the ends of it; R = sum b / sum s bits per byte of the whole
    score_g    R + (b_g - R s_g) / mean s, whose plain mean is R: the differences of two models vary as the difference
               of their two ratios does, blocks of uneven size included

What a model without a token in front of a text cannot foretell, the first token, is left out of it for all models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from blockyard.compare.run.job import Scoring, amounts
from blockyard.core.errors import UsageError
from blockyard.data.corpus import load_text, load_whole
from blockyard.data.shards import Split, encode_split
from blockyard.data.tokens import Bytes, Codec
from blockyard.data.windows import FEW, eval_windows
from blockyard.model.model import Model
from blockyard.task._material import GROUPS
from blockyard.task._text import nats_each, text_exam

ROWS = 16  # of a forward, at least


@dataclass(frozen=True, eq=False)
class Whole:
    """A text that models are scored on: its name, its documents as bytes, end to end in `split`, what must be said."""

    name: str
    split: Split
    notes: tuple[str, ...] = ()

    @property
    def documents(self) -> list[bytes]:
        """The documents, in order."""
        ends = np.asarray(self.split.offsets)
        return [np.asarray(self.split.tokens[a:b], np.uint8).tobytes() for a, b in pairwise(ends)]

    def read_by(self, codec: Codec) -> Split:
        """The same text in the ids of a codec."""
        return encode_split("whole", self.documents, codec)


def whole_text(data: Sequence[str]) -> Whole:
    """All of a text, or of the built-in one its test part."""
    if not data:
        corpus = load_text(None)
        return Whole(corpus.name, corpus.test, corpus.notes)
    (name, _, notes), split = load_whole(list(data), Bytes())
    return Whole(name, split, notes)


@dataclass(frozen=True, eq=False)
class Costs:
    """What the tokens of a text cost a model: `ends` (N,) the byte behind each, `bits` (N,); the first `unasked` bytes
    of the text, which nothing foretells, cost nothing."""

    ends: np.ndarray
    bits: np.ndarray
    unasked: int

    def until(self, borders: np.ndarray) -> np.ndarray:
        """(G,) bits of the text up to each border."""
        last = np.append(self.ends[1:] != self.ends[:-1], True)  # of tokens that end at one byte
        ends, bits = self.ends[last], self.bits.cumsum()[last]
        if ends[0] > 0:
            ends, bits = np.append(0, ends), np.append(0.0, bits)
        return np.interp(borders, ends, bits)


def token_costs(model: Model, split: Split, length: int) -> Costs:
    """What every token costs, read in windows of `length` tokens."""
    exam = text_exam(split, length, 1)
    found = amounts(model, _each, exam, Scoring(ROWS * length)).reshape(-1)[: len(split) - 1]
    bits = np.append(0.0, found / math.log(2))
    if not np.isfinite(bits).all():
        raise UsageError("scores what is no number: its weights are damaged, or training diverged")
    return Costs(np.cumsum(split.spelt(), dtype=np.int64), bits, int(split.spelt(0, 1)[0]))


def _each(said: Any, batch: Any) -> Any:
    """(B,T) nats of every token of a batch of windows."""
    return nats_each(said["logits"], batch.targets)


def borders(text: Whole, widest: float) -> np.ndarray:
    """(G+1,) bytes at which the blocks of a text begin, and the end; none smaller than `widest` bytes."""
    windows = eval_windows(text.split, max(1, math.ceil(widest)), GROUPS)
    if windows.groups < FEW:
        raise UsageError(
            f"{text.name} is too short for a verdict: {len(text.split):,} bytes are {windows.groups} blocks of "
            f"{widest:,.0f}, what a model reads at once, and {FEW} are needed; give more text, or a smaller --length"
        )
    return 1 + np.append(0, np.cumsum(windows.bytes))


def block_scores(costs: Sequence[Costs], cuts: np.ndarray) -> np.ndarray:
    """(models, G) bits per byte of every block under every model, whose means are those of the whole text."""
    cuts = np.append(max(each.unasked for each in costs), cuts[1:])
    bits = np.stack([np.diff(each.until(cuts)) for each in costs])
    return ratio_scores(bits, np.diff(cuts))


def ratio_scores(amounts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(..., G) scores of samples whose plain mean is the ratio of the sums: amounts (..., G) by sizes (..., G)."""
    whole = amounts.sum(-1, keepdims=True) / sizes.sum(-1, keepdims=True)
    return whole + (amounts - whole * sizes) / sizes.mean(-1, keepdims=True)
