"""What tasks of strings share: letters, a mark, and an answer as long spelt out behind it, somewhere in the row."""

from abc import abstractmethod

import numpy as np

from blockyard.task._base import Draw, Examples, Task, at_least, blank


class Strings(Task):
    """Strings of 1 to `count` letters behind 0 to `offset` blanks; from the mark on each next letter is asked."""

    grows = ("count",)
    variants = ({}, dict(count=4, letters=3, offset=0))

    def __init__(self, count: int, letters: int, offset: int) -> None:
        at_least(2, letters=letters)
        self.count, self.letters, self.offset = count, letters, offset
        self.length, self.vocab, self.answers = 2 * count + offset, letters + 2, range(letters)

    @abstractmethod
    def spelt(self, text: np.ndarray, size: np.ndarray) -> np.ndarray:
        """(n,L) the answers to letters (n,L), of which (n,1) count."""

    def sample(self, seed: int, n: int) -> Examples:
        draw, count = Draw(seed, n), self.count
        size, first = 1 + draw.below(count, 1), draw.below(self.offset + 1, 1)
        text = draw.below(self.letters, count)
        place = np.arange(self.length + 1) - first  # of each token in its string: letters, mark, letters
        behind = place - size - 1
        source, answer = (
            np.take_along_axis(x, np.clip(at, 0, count - 1), 1)
            for x, at in ((text, place), (self.spelt(text, size), behind))
        )
        source = np.where((place >= 0) & (place < size), source, -1)
        tokens = np.where((behind >= 0) & (behind < size), answer, np.where(place == size, self.letters + 1, source))
        tokens = np.where(tokens < 0, self.letters, tokens)
        asked = (place >= size) & (place < 2 * size)
        return Examples(tokens[:, :-1], np.where(asked[:, :-1], tokens[:, 1:], blank(tokens[:, 1:])))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) the letter that follows, from where the string begins and where its mark stands."""
        width = tokens.shape[1]
        place = np.arange(width)
        is_letter, is_mark = (tokens >= 0) & (tokens < self.letters), tokens == self.letters + 1
        first = np.where(is_letter.any(1), is_letter.argmax(1), 0)[:, None]
        mark = np.where(is_mark.any(1), is_mark.argmax(1), width)[:, None]
        text = np.take_along_axis(np.clip(tokens, 0, self.letters - 1), np.minimum(first + place, width - 1), 1)
        answer = np.take_along_axis(self.spelt(text, mark - first), np.clip(place - mark, 0, width - 1), 1)
        return np.where(place >= mark, answer, 0)

    def stretched(self, factor: float) -> Task:
        """Longer strings, behind so much fewer blanks."""
        longer = super().stretched(factor)
        return longer.but(offset=int(self.offset / max(1, factor)))
