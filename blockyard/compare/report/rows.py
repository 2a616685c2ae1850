"""Rows as comma-separated values, and those of a comparison: every run and every group of its test.

    arm, seed, folder            which run, and where it lies in the folder of the comparison
    status                       finished, or failed
    group, weight                which group of the test, in their order, and its share of the run's score
    loss, error, ...             the score in the group, called by the name of the metric
    whole                        the score of the run: sum over groups of weight * score
    params, tokens, ...          what the run took

With these names `blockyard judge runs.csv --pair group --weight weight --score loss` reads it as it stands.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from blockyard.compare.documents import Report


def as_csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str], head: Mapping[str, str] | None = None) -> str:
    """Rows under a line of these names, some of which are called otherwise there; empty is what a row does not have."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([(head or {}).get(name, name) for name in names])
    table.writerows([row.get(name) for name in names] for row in rows)
    return text.getvalue()


def runs_csv(report: Report) -> str:
    """The rows of a comparison with their groups, in the order of its arms and seeds."""
    rows = report.rows(groups=True)
    return as_csv(rows, list(dict.fromkeys(name for row in rows for name in row)), {"score": report.metric.name})
