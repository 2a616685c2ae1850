"""Rank prices by how much they will have risen a day on, from the days before: of every day all prices together.

    r_i = p_i(t+1) / p_i(t) - 1        rank IC = mean over days of the rank correlation of what was said and r

The columns of numbers are prices; the first word of a name is the group of a column, such as a sector. What is shown of
a price are its last `length` days and their running means, over the highest price of those days: nothing of later days
enters. A price that is empty or not above 0 is none: no window that would need it is shown, and none is asked for it.

Shapes   tokens (n,S,L,F): S prices, each with F - 1 running means    targets (n,S), not a number where none is asked
Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  prices over the highest of their window (source: of the whole period, test included)
"""

from typing import Annotated

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Fraction
from blockyard.data.table import Table
from blockyard.task._base import DataTask
from blockyard.task._ranking import Panel, Ranking


class Rank(DataTask):
    of = ("table",)
    variants = ({}, dict(length=8, averages=(3,)))

    def __init__(
        self, *, length: Annotated[Count, "days that are shown of a price"] = 16,
        averages: Annotated[tuple[Count, ...], "days of the running means that are shown beside it"] = (5, 10, 20, 30),
        train: Annotated[Fraction, "the share of the days that trains"] = 0.6,
        tune: Annotated[Fraction, "the share after it that tunes; what is left is the test"] = 0.2,
    ) -> None:  # fmt: skip
        if length < 2 or not 0 < train < train + tune < 1:
            raise UsageError(
                f"rank takes length of 2 or more and shares above 0 of sum below 1, not {train:g} and {tune:g}"
            )
        self.length, self.averages, self.train, self.tune = length, averages, train, tune

    def material(self, data: Table) -> Ranking:
        columns = data.numbers()
        if len(columns) < 2:
            raise UsageError(f"{data.name} has {len(columns)} columns of prices, and ranking takes two or more")
        days = len(data)
        ends = (round(self.train * days), round((self.train + self.tune) * days), days)
        panel = Panel.of(np.stack(list(columns.values()), 1), self.length, self.averages)
        groups = [name.split()[0] for name in columns]
        return Ranking(data, repr(self), panel, list(columns), groups, ends)
