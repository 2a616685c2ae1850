"""Two tables that share columns and what they are about, as one: rows of the first have a word in the column `pool`.

    z = corner of its group + noise        c_j = w_j . z + noise        label: which two of four groups

Ten of sixteen numbers are measured of the 3000 rows of the first table, and ten of the 2000 rows of the second, four of
them in both; the other cells are empty.

Source   none    Family  table
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.table import Table
from blockyard.source._base import Source

FIRST, SECOND, WIDTH, COLUMNS, MEASURED = 3000, 2000, 8, 16, 10
NOISE, WRONG = 0.5, 0.03  # of a column, and the share of labels that are
SITES, THINGS = ("north", "south", "east", "west"), ("mass", "length", "age", "charge")


class RelatedTables(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        draw, rows = _Normal(), FIRST + SECOND
        group = (draw.uniform(rows) * 4).astype(np.int64)
        corners = np.sign(draw(4, WIDTH))
        z = corners[group] + draw(rows, WIDTH)
        numbers = z @ draw(WIDTH, COLUMNS) / WIDTH**0.5 + NOISE * draw(rows, COLUMNS)
        numbers[:FIRST, MEASURED:] = np.nan
        numbers[FIRST:, : COLUMNS - MEASURED] = np.nan
        label = (group % 2 == 1) ^ (draw.uniform(rows) < WRONG)
        names = [f"{site} {thing}" for thing in THINGS for site in SITES]
        columns = dict(zip(names, numbers.T))
        pool = np.array(["first" if row < FIRST else None for row in range(rows)], object)
        return Table.of(
            "related_tables", {**columns, "pool": pool, "label": np.where(label, "yes", "no").astype(object)}
        )


class _Normal:
    """Normal numbers by Box and Muller, from raw bits, whose stream numpy keeps."""

    def __init__(self) -> None:
        self.bits = np.random.PCG64(np.random.SeedSequence(7))

    def uniform(self, *shape: int) -> np.ndarray:
        raw = np.asarray(self.bits.random_raw(shape))
        return ((raw >> np.uint64(12)) + 0.5) * 2.0**-52

    def __call__(self, *shape: int) -> np.ndarray:
        return np.sqrt(-2 * np.log(self.uniform(*shape))) * np.cos(2 * np.pi * self.uniform(*shape))
