"""What must be said of cells that can mean two things, and are read as one of them.

02/03/2024         two days: the month is taken to stand first where no cell of the column says otherwise
1.234 or 1,234     a number or its thousandfold: in doubt where another column has the other mark before its decimals
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from blockyard.core.errors import brief
from blockyard.data.times import either

OTHER = {".": ",", ",": "."}
THOUSANDS = {mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:[{mark}]\d{{3}})+") for mark in OTHER}


def twofold(name: str, columns: Mapping[str, np.ndarray], cells: Sequence[Sequence[str]]) -> list[str]:
    """The notes of a table.

    columns   as they were read        cells   of each column, the first ones as they are written
    """
    written = {each: [cell for piece in some if (cell := piece.strip())] for each, some in zip(columns, cells)}
    notes = [
        f"{name}: {some[0]} in column {brief(each)} can be two days; the month is taken to stand first: write the "
        "year first"
        for each, some in written.items()
        if _early(columns[each]) and either(some)
    ]
    marks = {each: _mark(some) for each, some in written.items() if columns[each].dtype.kind == "f"}
    decimal = {mark: each for each, mark in marks.items() if mark and not _thousands(written[each], mark)}
    for each, mark in marks.items():
        if mark and each != decimal.get(mark) and OTHER[mark] in decimal and _thousands(written[each], mark):
            cell, beside = next(cell for cell in written[each] if mark in cell), decimal[OTHER[mark]]
            read = f"{float(cell.replace(',', '.')):g}"
            notes.append(
                f"{name}: {cell} in column {brief(each)} is read as {read}, although decimals of column "
                f"{brief(beside)} stand behind {OTHER[mark]!r}: write thousands without a mark"
            )
    return notes


def _early(values: np.ndarray) -> bool:
    """Whether these are times of which none is later in its month than a year has months."""
    if values.dtype.kind != "M":
        return False
    days = values[~np.isnat(values)].astype("M8[D]")
    return bool((days - days.astype("M8[M]").astype("M8[D]") < np.timedelta64(12, "D")).all())


def _mark(cells: Sequence[str]) -> str:
    """The mark in these numbers; of two the comma; none: they are whole."""
    return next((mark for mark in ",." if any(mark in cell for cell in cells)), "")


def _thousands(cells: Sequence[str], mark: str) -> bool:
    """Whether this mark parts groups of three figures wherever it stands."""
    return all(THOUSANDS[mark].fullmatch(cell) for cell in cells if mark in cell)
