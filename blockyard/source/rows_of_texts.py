"""Rows with several texts: .csv, .tsv, .jsonl and .parquet, for tasks that read two columns of them.

Source   none    Family  text
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.annotated import Rows
from blockyard.source._base import Source
from blockyard.source.table import Table


class RowsOfTexts(Source):
    gives = "rows of texts"
    usual = False
    endings = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

    def read(self, paths: Sequence[str], **how: Any) -> Rows:
        return Rows(Table().read(paths), how.get("codec") or "bytes")
