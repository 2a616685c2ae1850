"""Anybody's runs as rows: one file a form that runs are kept in, how columns are found, what they are a table of.

    rows = read_rows(["results.csv"])           # or a folder, or a DataFrame
    roles = find_columns(rows, {"score": "loss"})

A form is a file of this folder: `known(path)` says whether a file or a folder is of it, `rows(path)` gives the places
and the rows of it. Nothing here knows how runs are judged. Needs no torch.
"""

from blockyard.runs._columns import Roles, find_columns
from blockyard.runs._design import Measured, measure
from blockyard.runs._read import Rows, read_rows

__all__ = ["Measured", "Roles", "Rows", "find_columns", "measure", "read_rows"]
