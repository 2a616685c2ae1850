"""Predictions as they are told: a document, a CSV with a line for every row or file, and a short table."""

import csv
import io
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from blockyard.core.document import Document
from blockyard.core.errors import brief
from blockyard.task._kept import outer

LINES, WIDE, CLASSES = 12, 24, 4  # that are shown to a person: rows, letters of a name, chances
FIRST = ("row", "file"), "predicted "  # how a CSV of predictions begins: its first column, and the second one


@dataclass(frozen=True)
class Predicted(Document):
    """What a model says of rows without their answer.

    of        what a line is: row (counted from 1, the names left out) or file        names   of the lines
    target    what is predicted        said   of every line, as the file would have it
    chances   (n,K) of `classes`; none where the target is a number        quantiles   by level, of a number
    tested    figures of the test when the model was trained; `blind`: the first of them, of who knows no row
    below     by level, the share of the test that lay below
    here      the same figures of `answered` rows of this file that hold the answer
    """

    model: str
    data: str
    out: str
    of: str
    target: str
    names: list[str]
    said: list[str]
    classes: list[str]
    chances: list[list[float]]
    quantiles: dict[str, list[str]]
    tested: dict[str, float | None]
    blind: float
    below: list[float]
    here: dict[str, float | None] = field(default_factory=dict)
    answered: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A few rows, how well the model did on rows like these, and where all of it is."""
        bands = outer([float(level) for level in self.quantiles])
        heads = [f"chance of {brief(name, WIDE)}" for name in self.classes[:CLASSES]]
        more = [f"{self._share(bands[0])} interval"] if bands else heads
        rows = [[self.of, f"predicted {self.target}", *more]]
        for i in range(min(LINES, len(self.names))):
            levels = list(self.quantiles.values())
            band = [" .. ".join(_short(levels[place][i]) for place in bands[0])] if bands else []
            sure = [f"{chance:.3f}" for chance in self.chances[i][:CLASSES]] if self.chances else []
            rows.append(
                [brief(self.names[i], WIDE), _short(self.said[i]) if bands else brief(self.said[i], WIDE), *band, *sure]
            )
        widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
        lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
        if len(self.names) > LINES:
            lines.append(f"and {len(self.names) - LINES:,} more {self.of}s")
        held = ""
        if bands and self.below:
            low, high = bands[0]
            held = f"; {self.below[high] - self.below[low]:.0%} of it lay in the {self._share(bands[0])} interval"
        first = next(iter(self.tested))
        told = f"on its test, when it was trained: {_figures(self.tested)} ({first} of a blind guess {self.blind:.4g})"
        here = [f"here, of {self.answered:,} {self.of}s with {self.target}: {_figures(self.here)}"] if self.here else []
        return "\n".join([*lines, told + held, *here, f"all of it is in {self.out}"])

    def _share(self, band: tuple[int, int]) -> str:
        low, high = (float(list(self.quantiles)[place]) for place in band)
        return f"{100 * (high - low):.4g}%"

    def to_csv(self) -> str:
        """All of it, a line a row or file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        chances = [f"chance of {name}" for name in self.classes]
        writer.writerow([self.of, f"{FIRST[1]}{self.target}", *chances, *(f"q{level}" for level in self.quantiles)])
        for i, (name, said) in enumerate(zip(self.names, self.said)):
            sure = [f"{chance:.6g}" for chance in self.chances[i]] if self.chances else []
            writer.writerow([name, said, *sure, *(each[i] for each in self.quantiles.values())])
        return text.getvalue()


def _short(number: str) -> str:
    """A number in five digits; a time as it is."""
    try:
        return f"{float(number):.5g}"
    except ValueError:
        return number


def _figures(figures: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if value is not None)


def chances(scores: np.ndarray) -> np.ndarray:
    """(n,K) the softmax of scores."""
    found = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)
