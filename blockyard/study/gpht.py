"""Does a forecaster that saw many other series need less of a new one than one that begins with it?

Source   arXiv 2402.16516    Slug  gpht    Family  series
Claim    one model that was trained on many series beats those that were trained on the one alone, tuned to it, and
         forecasts it without
Differs  24 made series; a tenth of 2,400 steps of another to tune on; one horizon, a segment; 60k parameters. Who has
         that tenth alone stops where another one, which nobody else is shown, is forecast best
"""

import math
from typing import Any

from blockyard.compare.documents import WIDTH, Report
from blockyard.compare.judge.tuning import UNTUNED
from blockyard.core.random import fold
from blockyard.core.spec import objective, phase, system
from blockyard.model.model import build
from blockyard.study._base import Figures, Finding, Given, Prediction, Race, Study, Trial, better, of_all, within
from blockyard.study._shown import rows_of, scored
from blockyard.train.loop import Settings, train

LENGTH, BATCH, TOKENS = 192, 32, 3_000_000
SHAPE = f"stages=3,length={LENGTH},horizon=24"
OTHERS = "first_data=series_families,first_series=series"
FIRST = f"{SHAPE},pretraining=0.9,{OTHERS}"
ARMS = (
    f"tuned=gpht:{FIRST}",
    f"whole=gpht:{FIRST},tune=*",
    f"one=gpht:{FIRST},stages=1",
    f"zero=gpht:{SHAPE},pretraining=1,{OTHERS}",
)
WAVES, TASK = "swelling_waves", f"forecast:horizon=24,length={LENGTH},split=0.1:0.1:0.8"
MOST = 0.9
LOOKS = 40  # times that it may stop


def alone(given: Given) -> dict[str, float]:
    """The test error of a forecaster of the same shape that has as many steps of the series alone: where the tuning
    stretch is forecast best, and after all of its steps."""
    few = given.tier != "small"
    steps = 2 if few else math.ceil(TOKENS / (BATCH * LENGTH))
    return from_scratch(given.trained("few", "zero").spec, given.seed, steps, 4 if few else BATCH)


def from_scratch(spec: Any, seed: int, steps: int, batch: int) -> dict[str, float]:
    """What `alone` says, of a model by its spec."""
    rows, whole = rows_of(TASK, WAVES), system(spec, phase(objective("next_segment")))
    start = fold("alone", seed)
    model, seen = build(whole, start), list[tuple[float, float, int]]()

    def look(step: int, loss: float) -> None:
        tuning = scored(model, rows, "tune")
        better = not seen or tuning < min(seen)[0]
        seen.append((tuning, scored(model, rows, "final") if better or step == steps else math.nan, step))

    rate = UNTUNED * math.sqrt(WIDTH / spec["dim"])  # that of the race
    settings = Settings(steps, rate, seed=start, log_every=max(1, steps // LOOKS))
    train(whole, model, rows.order(LENGTH, batch, seed), settings, watch=look)
    _, best, step = min(seen)
    return {"error": best, "share of the steps": step / steps, "error in the end": seen[-1][1]}


def study() -> Study:
    options = {
        "params": "60k", "tokens": TOKENS, "batch": BATCH, "seeds": 3, "tuning": "none", "data": (WAVES,),
    }  # fmt: skip
    return Study(
        races=(Race("few", ARMS, task=TASK, options=options),),
        trials=(Trial("alone", alone),),
        predictions=(
            of_alone("tuned", MOST),
            of_alone("whole", 1.0),
            better("few", "tuned", "one"),
            within("few", "zero", "last value", 1.0),
            better("few", "tuned", "zero"),
        ),
    )


def of_alone(arm: str, most: float) -> Prediction:
    """The error of an arm is at most such a share of that of the one that has the series alone and stops in time, in
    every seed. The value is the mean share."""

    def judge(result: Report, figures: Figures) -> Finding:
        pairs = zip(result.arm(arm).score.per_seed, (each["error"] for each in figures))
        shares = [a / b if a is not None and b else None for a, b in pairs]
        return of_all(shares, lambda share: share <= most, most)

    text = f"few and alone: the error of {arm} is at most {most:g} times that of who has one series, in every seed"
    return Prediction(text, ("few", "alone"), judge)
