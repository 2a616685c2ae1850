"""ETTh1: two years of an electricity transformer by the hour, its oil temperature and six loads.

It is read from series/ETTh1.csv in the folder of benchmark data, which BLOCKYARD_DATA names.

Source   arXiv 2012.07436    Family  series
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.table import Table
from blockyard.source._base import Source
from blockyard.source._benchmark import benchmark
from blockyard.source.table import Table as File


class ETTh1(Source):
    gives = "table"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Table:
        return File().read([str(benchmark("series/ETTh1.csv", "github.com/zhouhaoyi/ETDataset"))])
