"""What tasks of strings share: letters, a mark, and an answer as long spelt out behind it, somewhere in the row."""

from collections.abc import Callable

import numpy as np

from blockyard.task._base import Draw, Examples, blank

Spell = Callable[[np.ndarray, np.ndarray], np.ndarray]  # letters (n,L), of which (n,1) count -> the answers (n,L)


def drawn(seed: int, n: int, count: int, letters: int, offset: int, spell: Spell) -> Examples:
    """Strings of 1 to `count` letters behind 0 to `offset` blanks; asked from the mark on: the next letter."""
    draw = Draw(seed, n)
    size, first = 1 + draw.below(count, 1), draw.below(offset + 1, 1)
    text = draw.below(letters, count)
    place = np.arange(2 * count + offset + 1) - first  # of each token in its string: letters, mark, letters
    behind = place - size - 1
    source, answer = (
        np.take_along_axis(x, np.clip(at, 0, count - 1), 1) for x, at in ((text, place), (spell(text, size), behind))
    )
    source = np.where((place >= 0) & (place < size), source, -1)
    tokens = np.where((behind >= 0) & (behind < size), answer, np.where(place == size, letters + 1, source))
    tokens = np.where(tokens < 0, letters, tokens)
    asked = (place >= size) & (place < 2 * size)
    return Examples(tokens[:, :-1], np.where(asked[:, :-1], tokens[:, 1:], blank(tokens[:, 1:])))


def solved(tokens: np.ndarray, letters: int, spell: Spell) -> np.ndarray:
    """(n,T) the letter that follows, from where the string begins and where its mark stands."""
    width = tokens.shape[1]
    place = np.arange(width)
    is_letter, is_mark = (tokens >= 0) & (tokens < letters), tokens == letters + 1
    first = np.where(is_letter.any(1), is_letter.argmax(1), 0)[:, None]
    mark = np.where(is_mark.any(1), is_mark.argmax(1), width)[:, None]
    text = np.take_along_axis(np.clip(tokens, 0, letters - 1), np.minimum(first + place, width - 1), 1)
    answer = np.take_along_axis(spell(text, mark - first), np.clip(place - mark, 0, width - 1), 1)
    return np.where(place >= mark, answer, 0)
