"""A forecast as it is told: a document, a CSV, and a short table with what needs no training beside it."""

import csv
import io
from dataclasses import dataclass, field

import numpy as np

from blockyard.core.document import Document
from blockyard.task._kept import outer

LINES = 12  # that are shown to a person
MIDDLES = ("mean", "median", "middle")
FIRST = [(when, "series", middle) for when in ("time", "step") for middle in MIDDLES]  # of a forecast's CSV


@dataclass(frozen=True)
class Ahead(Document):
    """What comes of one series: when, the mean or the median, the quantiles by level, what needs no training."""

    series: str
    times: list[str]
    middle: list[float]
    quantiles: dict[str, list[float | None]]
    references: dict[str, list[float]]


@dataclass(frozen=True)
class Forecasted(Document):
    """What comes after the end of a file.

    when      what rows are told by: time, or step where the file does not say when
    middle    what the middle of each series is: mean, median, or where no level is 0.5 the one next to it
    levels    of the quantiles
    below     share of the numbers of the test that lay below each level, when the model was trained
    errors    mean absolute there, on scaled columns, of the model and of what needs no training
    """

    model: str
    data: str
    out: str
    when: str
    middle: str
    levels: list[float]
    series: list[Ahead]
    below: list[float | None]
    errors: dict[str, float | None]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A short table: a few steps of the first series, the widest interval, what needs no training beside it."""
        shown = self.series[: max(1, LINES // 2)]
        bands = outer(self.levels)
        low, high = bands[0] if bands else (0, len(self.levels) - 1)
        rows = [[self.when, "series", self.middle, self._band(low, high), *shown[0].references]]
        for each in shown:
            count = max(2, LINES // len(shown))
            for i in np.unique(np.linspace(0, len(each.times) - 1, min(count, len(each.times))).astype(int)):
                edges = [each.quantiles[f"{self.levels[place]:g}"][i] for place in (low, high)]
                band = " .. ".join("-" if edge is None else f"{edge:.5g}" for edge in edges)
                beside = [f"{values[i]:.5g}" for values in each.references.values()]
                rows.append([each.times[i], each.series, f"{each.middle[i]:.5g}", band, *beside])
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows]
        if len(self.series) > len(shown):
            lines.append(f"and {len(self.series) - len(shown)} more series")
        errors = ", ".join(f"{name} {value:.3g}" for name, value in self.errors.items() if value is not None)
        held = [self.below[place] for place in (low, high)]
        said = (
            "" if None in held else f"; {(held[1] or 0) - (held[0] or 0):.0%} of it lay in the {self._band(low, high)}"
        )
        tested = f"on its test, when it was trained: mean absolute error, in deviations: {errors}{said}"
        return "\n".join([*lines, tested, f"all of it is in {self.out}"])

    def _band(self, low: int, high: int) -> str:
        return f"{100 * (self.levels[high] - self.levels[low]):.4g}% interval"

    def to_csv(self) -> str:
        """All of it, a line a step."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        references = list(self.series[0].references)
        writer.writerow([self.when, "series", self.middle, *(f"q{level:g}" for level in self.levels), *references])
        for each in self.series:
            for i, time in enumerate(each.times):
                quantiles = [each.quantiles[f"{level:g}"][i] for level in self.levels]
                beside = [each.references[name][i] for name in references]
                numbers = ["" if value is None else f"{value:.8g}" for value in (each.middle[i], *quantiles, *beside)]
                writer.writerow([time, each.series, *numbers])
        return text.getvalue()
