"""Does a model that learned to write the next centre of a search find more with it than chance and climbing do?

Source   arXiv 2402.18381    Slug  evollm    Family  search
Claim    a model as the step of a strategy beats random search and climbing on black-box functions; tuning on the
         contexts of a teacher makes it better; members listed from the worst to the best are read more easily than as
         they came
Differs  models of sixty thousand parameters from nothing; 20 generations of 5 members on functions of two numbers,
         moved by chance; every evaluation is counted, also where nothing was written
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from blockyard.core.draw import Draw
from blockyard.decode.answers import answers
from blockyard.predictor.evolution import evolve, hill_climb
from blockyard.predictor.landscapes import landscape
from blockyard.study._base import (
    Figures,
    Finding,
    Given,
    Prediction,
    Race,
    Study,
    Trial,
    lower,
    of_all,
    ratio,
    within,
)
from blockyard.study._shown import asked
from blockyard.task.bbob import SIDE, STEP

CONTEXTS = "bbob:functions=sphere+rastrigin,scored=rosenbrock,resolution=20,elite=2"
RACES = {"in order": CONTEXTS, "as they came": f"{CONTEXTS},ordered=no"}
FUNCTIONS = ("sphere", "rosenbrock", "rastrigin")
SEARCHES, GENERATIONS, MEMBERS = 40, 20, 5  # of a function; those drawn at first are among the generations
Ask = Callable[[np.ndarray, int], Any]


def searched(given: Given) -> dict[str, float]:
    """The median over searches of the least value that is found of each function, whose least one is 0: by the model as
    it reads in order and as they came, by the teacher, and at as many evaluations by chance and by climbing."""
    small, found = given.tier == "small", dict[str, float]()
    task: Any = asked(CONTEXTS)
    models = {race: answers(given.trained(race, "llama"), task.dim) for race in RACES}
    for function in FUNCTIONS:
        ends = outcomes(function, models, given.seed, *((SEARCHES, GENERATIONS) if small else (3, 4)))
        found |= {f"{function} {who}": value for who, value in ends.items()}
    return found


def outcomes(function: str, models: dict[str, Ask], seed: int, searches: int, generations: int) -> dict[str, float]:
    """Of one function: who searches, and what it finds."""
    task: Any = asked(CONTEXTS)
    draw = Draw(2**32 + seed, searches, stream=FUNCTIONS.index(function))
    shift = SIDE * (1.6 * draw.uniform(task.dim) - 0.8)
    start = SIDE * (2 * draw.uniform(task.shown, MEMBERS, task.dim) - 1)
    noise = draw.normal(generations - task.shown, MEMBERS, task.dim)
    chance = SIDE * (2 * draw.uniform(generations * MEMBERS, task.dim) - 1)
    steps = draw.normal(generations * MEMBERS - 1, task.dim)
    value = landscape(function)

    def evaluate(x: np.ndarray) -> np.ndarray:
        return value(x - shift[:, None])

    def by(ask: Ask, race: str) -> float:
        read: Any = asked(RACES[race])
        run = evolve(ask, evaluate, read.coding, start, noise, low=-SIDE, high=SIDE, sigma=STEP)
        assert run.f[0].size == generations * MEMBERS
        return median(run.best[:, -1].tolist())

    climbed = hill_climb(evaluate, start[:, 0, 0], steps, low=-SIDE, high=SIDE, sigma=STEP)
    found = {race: by(ask, race) for race, ask in models.items()}
    found["teacher"] = by(lambda rows, time: task.coding.elite_mean(rows, task.elite), "in order")
    return found | {"chance": median(evaluate(chance).min(1).tolist()), "climbing": median(climbed[:, -1].tolist())}


def beats(who: str, others: tuple[str, ...], least: int) -> Prediction:
    """On so many functions at least one finds less than all of the others do, in every seed. The value is the mean
    number of functions."""

    def judge(figures: Figures) -> Finding:
        counts = []
        for each in figures:
            pairs = [(each[f"{at} {who}"], [each[f"{at} {other}"] for other in others]) for at in FUNCTIONS]
            wins = [min(mine < (other or 0.0) for other in rest) for mine, rest in pairs if mine is not None]
            known = len(wins) == len(FUNCTIONS) and all(None not in rest for _, rest in pairs)
            counts.append(float(sum(wins)) if known else None)
        return of_all(counts, lambda count: count >= least, least)

    text = f"searched: {who} finds less than {' and '.join(others)} on {least} functions or more, in every seed"
    return Prediction(text, "searched", judge)


def study() -> Study:
    options = {"params": "60k", "tokens": "1M", "batch": 128, "seeds": 2, "tuning": "none"}
    return Study(
        races=tuple(Race(name, ("llama", "gla"), task=task, options=options) for name, task in RACES.items()),
        trials=(Trial("searched", searched),),
        predictions=(
            within("in order", "llama", "best member", 0.8),
            ratio("in order", "as they came", "llama", 0.9),
            ratio("in order", "as they came", "gla", 0.9),
            lower("as they came", "off by", "llama", "gla"),
            beats("in order", ("chance", "climbing"), 2),
            beats("in order", ("as they came",), 2),
        ),
    )
