"""What both phone books share: names of letters with numbers of digits, and finding one by name.

    ids     0..alphabet-1 letters, then ten digits, then the mark in front of a question
    entry   the letters of a name, then the digits of its number

No two entries have the same name.
"""

import numpy as np

from blockyard.task._base import Draw, at_least, fits


def checked(entries: int, letters: int, digits: int, alphabet: int) -> int:
    """How many names there are, where the sizes can be met."""
    at_least(1, entries=entries, letters=letters, digits=digits, alphabet=alphabet)
    names = alphabet**letters
    fits(names < 2**60, f"phonebook: {alphabet}^{letters} names are too many; take fewer letters")
    fits(entries <= names, f"phonebook: entries={entries} need {entries} names or more; {alphabet}^{letters}={names}")
    return names


def book(draw: Draw, entries: int, letters: int, digits: int, alphabet: int) -> np.ndarray:
    """(n, entries, letters + digits): random names with random numbers."""
    name = draw.distinct(entries, alphabet**letters)[..., None] // alphabet ** np.arange(letters)[::-1] % alphabet
    return np.concatenate([name, alphabet + draw.below(10, entries, digits)], 2)


def number_of(name: np.ndarray, book: np.ndarray) -> np.ndarray:
    """(n, digits): the number beside the name (n, letters) in the book; of the first entry where none is equal."""
    letters = name.shape[1]
    which = (book[:, :, :letters] == name[:, None]).all(2).argmax(1)
    return book[np.arange(len(book)), which, letters:]
