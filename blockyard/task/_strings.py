"""What copying and reversing share: letters, a mark, and the answer spelt out behind it, somewhere in the row."""

from collections.abc import Callable

import numpy as np

from blockyard.task._base import Draw, Examples, blank

Turn = Callable[[np.ndarray, np.ndarray], np.ndarray]  # places (T,) and lengths (n,1) -> the letters they ask for (n,T)


def drawn(seed: int, n: int, count: int, letters: int, offset: int, turn: Turn) -> Examples:
    """Strings of 1 to `count` letters behind 0 to `offset` blanks; asked from the mark on: the next letter."""
    draw = Draw(seed, n)
    size, first = 1 + draw.below(count, 1), draw.below(offset + 1, 1)
    text = draw.below(letters, count)
    place = np.arange(2 * count + offset + 1) - first  # of each token in its string: letters, mark, letters
    source = np.where((place >= 0) & (place < size), np.take_along_axis(text, np.clip(place, 0, count - 1), 1), -1)
    behind = place - size - 1
    answer = np.take_along_axis(text, np.clip(turn(behind, size), 0, count - 1), 1)
    tokens = np.where((behind >= 0) & (behind < size), answer, np.where(place == size, letters + 1, source))
    tokens = np.where(tokens < 0, letters, tokens)
    asked = (place >= size) & (place < 2 * size)
    return Examples(tokens[:, :-1], np.where(asked[:, :-1], tokens[:, 1:], blank(tokens[:, 1:])))


def solved(tokens: np.ndarray, letters: int, turn: Turn) -> np.ndarray:
    """(n,T) the letter that follows, from where the string begins and where its mark stands."""
    place = np.arange(tokens.shape[1])
    is_letter, is_mark = (tokens >= 0) & (tokens < letters), tokens == letters + 1
    first = np.where(is_letter.any(1), is_letter.argmax(1), 0)[:, None]
    mark = np.where(is_mark.any(1), is_mark.argmax(1), tokens.shape[1])[:, None]
    found = np.clip(first + turn(place - mark, mark - first), 0, tokens.shape[1] - 1)
    return np.where(place >= mark, np.take_along_axis(np.maximum(tokens, 0), found, 1), 0)
