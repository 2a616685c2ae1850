"""Are facts that were only told brought out by questions, the better the more templates the taught ones cover?

Source   arXiv 2508.00901    Slug  one-layer-knowledge    Family  recall
Claim    with many tellings a fact, few templates and many taught facts, what was never asked in training is answered;
         and without an MLP little is stored
Differs  told and taught rows are shown together, not one after the other; four cells, of which each differs from the
         first in one thing, in place of eight; a reading of the abstract
"""

import math
from collections.abc import Sequence

import numpy as np

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, below, better, of_all

TABLE = "facts:subjects=100,relations=1,values=20,fillers=2"
COVERED = {"templates": 8, "tellings": 4, "taught": 80}
CELLS = {  # what is another than in the first
    "covered": {},
    "many templates": {"templates": 32},
    "told once": {"tellings": 1},
    "few taught": {"taught": 20},
}
ARMS = ("layer=one_layer:dim=48,ffn=128", "attention=one_layer:dim=64,ffn=0")


def task_of(cell: str, show: str = "show=both,exam=asked") -> str:
    """What is told, and how many are taught, in a cell."""
    settings = ",".join(f"{name}={value}" for name, value in (COVERED | CELLS[cell]).items())
    return f"{TABLE},{show},{settings}"


def reach(cell: str) -> float:
    """N K^2 ln R / R^2: the larger it is, the less the paper bounds the error of what was not taught by."""
    of = COVERED | CELLS[cell]
    return of["taught"] * of["tellings"] ** 2 * math.log(of["templates"]) / of["templates"] ** 2


def agreement(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The correlation of the ranks of two rows of numbers, equal ones sharing theirs; None where all are equal."""
    ranks = [(np.less.outer(x, x).sum(0) + np.less_equal.outer(x, x).sum(0)) / 2 for x in map(np.asarray, (one, other))]
    if any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def ordered(arm: str, least: float) -> Prediction:
    """How right an arm is ranks the cells as their reach does, nearly, in every seed. The value is the mean of the
    correlation of ranks."""

    def judge(*results: Report) -> Finding:
        found = []
        for errors in zip(*(result.arm(arm).score.per_seed for result in results)):
            right = [1 - error for error in errors if error is not None]
            found.append(agreement([reach(cell) for cell in CELLS], right) if len(right) == len(CELLS) else None)
        return of_all(found, lambda value: value >= least, least)

    return Prediction(f"all cells: how right {arm} is goes with the reach by {least:g} or more", (*CELLS,), judge)


def times_the_worst(arm: str, least: float) -> Prediction:
    """In the first cell an arm is right so many times as often as in the worst cell, in every seed; its value is the
    mean of that."""

    def judge(*results: Report) -> Finding:
        found = []
        for errors in zip(*(result.arm(arm).score.per_seed for result in results)):
            right = [1 - error for error in errors if error is not None]
            known = len(right) == len(CELLS) and min(right) > 0
            found.append(right[0] / min(right) if known else None)
        return of_all(found, lambda value: value >= least, least)

    text = f"all cells: of what is covered {arm} is right {least:g} times as often as of the worst cell, or more"
    return Prediction(text, (*CELLS,), judge)


def study() -> Study:
    options = {"params": "35k", "tokens": "700k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            *(Race(cell, ARMS, task=task_of(cell), options=options) for cell in CELLS),
            Race("stored", ARMS, task=task_of("covered", "show=told"), options=options),
        ),
        predictions=(
            below("covered", "layer", 0.3), ordered("layer", 0.7), times_the_worst("layer", 2),
            better("stored", "layer", "attention"),
        ),
    )  # fmt: skip
