"""Counting one letter of a string that is cut into tokens in one way or another.

    a b b a = 0 2                      asked from = on: how many a, digit by digit
    ab ba = a 0 1 b b a 0 2 = 0 2      with `trace` every letter is written first, behind each a how many so far

The answer depends on the letters alone, the difficulty on what a token is: `tokens` names the way to cut
(characters, chunks of `size` letters, merged byte pairs, separated by commas, quoted). The derivation names letters
whatever the string is cut into, so a chunk has to be spelt. Rows of chunks are shorter, and a budget of tokens shows
more of them: with `even` all rows are as wide as the widest would be, and the budget is one of strings. Counts have two
digits, three where strings have 100 letters or more. The error is told by the number of letters; `over` and `under` are
answers that are too large and too small, behind the right derivation.

Shapes   ids: 0..9, =, the letters, what else a policy has, pad    T = question + reply    chance 1/10 a digit
Source   arXiv 2410.19730    Slug  counting-tokenization    Family  counting
Differs  small models are trained on it (paper: large ones are asked); every kind of chunk is met in training
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from blockyard.core.settings import Count, Word
from blockyard.task._base import Draw, Examples, Predictor, at_least, fits
from blockyard.task._metric import Metric
from blockyard.task._policies import policy
from blockyard.task._slices import RATE, Slicing, bands
from blockyard.task._traced import Traced

MARK, FIRST, WIDEST = 10, 11, 4
COUNTED = 0  # the letter that is asked about


class Counting(Traced):
    grows = ("count",)
    first = "dec139289b1e"
    variants = (
        {}, dict(tokens="chunks", letters=3, count=10), dict(tokens="merged", size=12, trace=True),
        dict(tokens="quoted", count=6, trace=True, least=3), dict(tokens="separated", even=True),
    )  # fmt: skip

    def __init__(
        self, *, count: Annotated[Count, "letters of the longest string"] = 16,
        least: Annotated[Count, "letters of the shortest"] = 4, letters: Annotated[Count, "different letters"] = 2,
        tokens: Annotated[Word, "how it is cut: characters, chunks, merged, separated, quoted"] = "characters",
        size: Annotated[Count, "letters of a chunk, or how many merged tokens there are"] = 2,
        trace: Annotated[bool, "whether the letters are written, with the count so far"] = False,
        even: Annotated[bool, "whether rows are as wide as those of the widest cut"] = False,
    ) -> None:  # fmt: skip
        fits(least <= count, f"counting: need least <= count, not {least} <= {count}")
        at_least(2, letters=letters, count=count)
        fits(letters <= 26, f"counting: letters={letters} must be at most 26")
        self.count, self.least, self.letters, self.tokens = count, least, letters, tokens
        self.size, self.trace, self.even = size, trace, even
        self.policy = policy(tokens, letters, size)
        asking = count * (WIDEST if even else self.policy.wide)
        if tokens == "chunks" and not even:
            asking = -(-count // size)
        self.places = max(2, len(str(count)))
        replying = self.places + trace * (1 + count * (1 + self.places))
        answers = range(FIRST + letters) if trace else range(10)
        super().__init__(FIRST + len(self.policy.table) + 1, answers, MARK, asking, replying)

    def strings(self, seed: int, n: int) -> np.ndarray:
        """(n,L) the letters of n strings, -1 behind short ones."""
        draw = Draw(seed, n)
        long = self.least + draw.below(self.count - self.least + 1, 1)
        return np.where(np.arange(self.count) < long, draw.below(self.letters, self.count), -1)

    def asks(self, seed: int, n: int) -> np.ndarray:
        return self.asked(self.strings(seed, n))

    def asked(self, strings: np.ndarray) -> np.ndarray:
        """(n,Q) the questions about strings (n,L)."""
        ids = self.policy.encode(strings)
        ids = np.where(ids >= 0, FIRST + ids, -1)[:, : self.asking]
        return np.pad(ids, ((0, 0), (0, self.asking - ids.shape[1])), constant_values=-1)

    def replies(self, questions: np.ndarray) -> np.ndarray:
        strings = self.policy.decode(np.where(questions >= 0, questions - FIRST, -1))
        matches = strings == COUNTED
        answer = self._digits(matches.sum(1))
        if not self.trace:
            return answer
        told = np.where(matches[..., None], self._digits(matches.cumsum(1)), -1)
        letters = np.where(strings >= 0, FIRST + strings, -1)[..., None]
        steps = np.concatenate([letters, told], 2).reshape(len(strings), -1)
        steps = np.pad(steps, ((0, 0), (0, self.replying - self.places - 1 - steps.shape[1])), constant_values=-1)
        return np.concatenate([steps, np.full((len(steps), 1), MARK), answer], 1)

    def _digits(self, counts: np.ndarray) -> np.ndarray:
        """(...,places) the digits of counts (...), the largest first."""
        return counts[..., None] // 10 ** np.arange(self.places - 1, -1, -1) % 10

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        pieces, index = bands(self.least, self.count)
        return (Slicing("letters up to", pieces, lambda asked: index(self._sizes(asked))),)

    def _sizes(self, examples: Examples) -> np.ndarray:
        """(n,) the letters of every string."""
        questions = self.questions_of(examples.tokens)
        return np.where(questions >= 0, (self.policy.table >= 0).sum(1)[np.maximum(questions - FIRST, 0)], 0).sum(1)

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """As all of its kind, then whether the answer is too large and too small: as its first wrong digit is."""
        ids = np.asarray(said["ids"] if "ids" in said else said["logits"].argmax(-1))
        wrong = (ids != examples.targets) & self.answered(examples)
        first, rows = wrong.argmax(1), np.arange(len(ids))
        off = np.where(ids[rows, first] < 10, ids[rows, first] - examples.targets[rows, first], 0) * wrong.any(1)
        return np.concatenate([super().priced(said, examples), np.stack([off > 0, off < 0], 1)], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        return (*super().also, *(Metric(name, RATE, "lower", 0.0, 1.0) for name in ("over", "under")))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return super().figures(sums[:-2], asked) | {"over": float(sums[-2] / asked), "under": float(sums[-1] / asked)}

    def baselines(self) -> dict[str, Predictor]:
        """The commonest answer, and for every string the commonest of its length."""
        return {"commonest": lambda tokens: self._constant(tokens, False), "by length": self._constant}

    def _constant(self, tokens: np.ndarray, by_length: bool = True) -> np.ndarray:
        """(n,T) a count that looks at no letter, digit by digit behind =."""
        many = (
            self._sizes(Examples(tokens, tokens)) if by_length else np.full(len(tokens), (self.least + self.count) // 2)
        )
        digits = self._digits(many // self.letters)  # the likeliest of a binomial, or its neighbour
        marks = tokens == MARK
        last = np.where(marks.any(1), tokens.shape[1] - 1 - marks[:, ::-1].argmax(1), tokens.shape[1])[:, None]
        behind = (np.arange(tokens.shape[1]) - last).clip(0, self.places - 1)
        return np.take_along_axis(digits, behind, 1)
