"""Do Transformers beat linear models at forecasting, or does the input window decide, or how the test was cut?

Source   arXiv 2205.13504, 2211.14730, 2310.06625    Family  pages
Claim    a linear map beats a Transformer over time points; a Transformer over patches or over variables beats that;
         all that is not a Transformer over time points gains from a longer window
Differs  ETTh1 and ETTh2 by the usual months, 96 steps ahead; 80k parameters for every Transformer, 2,560 windows;
         each test window counts, and what dropping the last batch would have changed is counted beside
"""

import math
from collections.abc import Mapping
from itertools import combinations
from statistics import fmean

import numpy as np
import torch

from blockyard.compare.documents import ArmReport, Choice, Report
from blockyard.compare.plan.dataset import named
from blockyard.compare.report.figures import looks
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.core.batch import Batch
from blockyard.study._base import Given, Race, Study, Trial, better, figure, lower_in, ratio
from blockyard.study._pictures import Axes, Curve, frame
from blockyard.task import Line

FILES, LENGTHS, HORIZON = ("etth1", "etth2"), (96, 336), 96
WINDOWS = 2_560  # of training, a run
ARMS = ("nlinear", "dlinear", "patchtst", "itransformer", "points=series_transformer:stem.scaling=none,layers=2,dim=32")
LABELS = tuple(arm.partition("=")[0] for arm in ARMS)
BATCHES = (32, 64, 128, 256, 512)  # of a test whose last batch is dropped where it is not full
PIECE = 64  # windows of a forward


def task(length: int) -> str:
    """The task as a race asks it: the usual months, so many steps back."""
    return f"forecast:horizon={HORIZON},length={length},split=12:4:4"


def kept(errors: Mapping[str, np.ndarray], batch: int) -> dict[str, float]:
    """The mean error of every arm over the windows that stay where a last batch that is not full is dropped."""
    return {arm: float(each[: len(each) // batch * batch].mean()) for arm, each in errors.items()}


def turned(errors: Mapping[str, np.ndarray]) -> tuple[int, float]:
    """Of the errors of every window, in order of time: in how many pairs and sizes of batch another arm is ahead once
    the last batch is dropped, and by which share any mean moves at most."""
    whole, turns, moves = {arm: float(each.mean()) for arm, each in errors.items()}, 0, [0.0]
    for batch in BATCHES:
        part = kept(errors, batch)
        turns += sum((part[a] < part[b]) != (whole[a] < whole[b]) for a, b in combinations(errors, 2))
        moves += [abs(part[arm] / whole[arm] - 1) for arm in errors]
    return turns, max(moves)


@torch.no_grad()
def dropped(given: Given) -> dict[str, float | None]:
    """What dropping the last batch does to the verdicts of both races over the long window."""
    turns, moves = 0, []
    for file in FILES:
        material = named(Choice(task(LENGTHS[-1]), [file], "bytes"))
        exam = material.exam("final", LENGTHS[-1])
        errors = {}
        for arm in LABELS:
            model, found = given.trained(f"{file}_{LENGTHS[-1]}", arm), []
            for first in range(0, len(exam), PIECE):
                rows = {name: torch.from_numpy(each) for name, each in exam.take(slice(first, first + PIECE)).items()}
                batch = Batch(rows["tokens"], rows["targets"])
                found.append(material.amounts(model(batch).prediction, batch).numpy()[:, 0])
            errors[arm] = np.concatenate(found)
        more, moved = turned(errors)
        turns, moves = turns + more, [*moves, moved]
    return {"pairs that turn": float(turns), "largest move": max(moves)}


def page(reports: Mapping[str, Report]) -> Sheet:
    """The error by step ahead of every race, and of every arm the scores of all of them."""
    pictures = []
    for name, report in reports.items():
        found = {arm.name: lines[0] for arm in report.arms if (lines := _ahead(arm))}
        found |= {line.name: line for arm in report.arms[:1] for line in _ahead(arm)[1:]}  # what needs no training
        look = looks(found)
        curves = [Curve(each, look[each], list(zip(line.x, line.y))) for each, line in found.items()]
        said = Axes("steps ahead", report.metric.unit, log_x=False)
        about = "The best run of each arm, a sample of the test's windows."
        title = f"{name.replace('_', ', ')} steps back: error by step ahead"
        pictures.append(Picture(name, title, about, frame(name, title, said, curves)))
    asked = "Do Transformers beat linear models, or does the input window decide?"
    return Sheet("The quarrel", asked, pictures, _table(reports))


def _ahead(arm: ArmReport) -> list[Line]:
    """How its error grows with the steps ahead, and those of what needs no training."""
    return next((each.lines for each in arm.exhibits if each.title == "error by step"), [])


def _table(reports: Mapping[str, Report]) -> Table:
    """Of every arm the mean score and the range over seeds in each race, beside what needs no training."""
    head = ["arm", *(f"{name.replace('_', ', ')} back" for name in reports)]
    rows = [[arm, *(_range(report.arm(arm)) for report in reports.values())] for arm in LABELS]
    shared = [*next(iter(reports.values())).references]
    rows += [
        [f"{name}, untrained", *(f"{report.references[name]:.3f}" for report in reports.values())] for name in shared
    ]
    return Table(head, rows)


def _range(arm: ArmReport) -> str:
    known = [score for score in arm.score.per_seed if score is not None and math.isfinite(score)]
    return f"{fmean(known):.3f} ({min(known):.3f} to {max(known):.3f})" if known else "failed"


def study() -> Study:
    shared = {"params": "80k", "batch": 32, "seeds": 2, "tuning": "none"}
    races = tuple(
        Race(f"{file}_{length}", ARMS, task=task(length),
             options={**shared, "data": [file], "tokens": str(WINDOWS * length)}, smallest="80k")
        for file in FILES for length in LENGTHS
    )  # fmt: skip
    return Study(
        races=races,
        predictions=(
            better("etth1_96", "dlinear", "points"),
            better("etth2_96", "dlinear", "points"),
            better("etth2_336", "patchtst", "dlinear"),
            better("etth1_96", "itransformer", "patchtst"),
            better("etth2_96", "itransformer", "dlinear"),
            lower_in("etth1_336", "etth1_96", "dlinear", 0.0),
            lower_in("etth1_336", "etth1_96", "patchtst", 0.0),
            ratio("etth1_96", "etth1_336", "points", 1.0),
            figure("dropped", "pairs that turn", most=0),
        ),
        page=page,
        trials=(Trial("dropped", dropped),),
    )
