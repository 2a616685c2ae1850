"""Do heads that match and tables that look up learn to count, to find the most frequent and to reverse?

Source   arXiv 2306.01128    Slug  transformer-programs    Family  programs
Claim    a Transformer that is forced to be a program comes near an ordinary one on small algorithms
Differs  left to right; few steps, three seeds, of which one counts as in the paper: that which errs least on examples
         that are neither trained on nor scored; a small llama, chosen alike, as ceiling
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Figures, Finding, Given, Prediction, Race, Study, Trial
from blockyard.study._shown import rows_of, scored

TASKS = {
    "histogram": "histogram:letters=4,most=4,length=8",
    "most_frequent": "most_frequent:letters=4,length=8",
    "reverse": "reverse:count=4,letters=4,offset=0",
}
PROGRAM = "program=transformer_programs:values=8,layers=2,heads=2,counts=4,tables=2,inner=32"


def tried(given: Given) -> dict[str, float]:
    """The error of each arm of each race on the examples that a race tunes on: no seed is chosen by what it reports."""
    return {
        f"{race} {arm}": scored(given.trained(race, arm), rows_of(task), "tune")
        for race, task in TASKS.items()
        for arm in ("program", "ordinary")
    }


def chosen(race: str, arm: str, result: Report, figures: Figures) -> float | None:
    """The score of the seed that errs least when it is tried; of several the first one. None where none is known."""
    pairs = zip((each[f"{race} {arm}"] for each in figures), result.arm(arm).score.per_seed)
    known = [(error, score) for error, score in pairs if error is not None and score is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def best_below(race: str, arm: str, most: float) -> Prediction:
    """The chosen seed errs on less than this share: all are paid for, one is kept."""

    def judge(result: Report, figures: Figures) -> Finding:
        score = chosen(race, arm, result, figures)
        return Finding(OPEN if score is None else HOLDS if score < most else FAILS, score, most)

    text = f"{race} and tried: the seed of {arm} that errs least when it is tried is below {most:g}"
    return Prediction(text, (race, "tried"), judge)


def near_best(race: str, arm: str, other: str, most: float) -> Prediction:
    """The chosen seed errs by at most so much more than that of another arm."""

    def judge(result: Report, figures: Figures) -> Finding:
        mine, theirs = (chosen(race, name, result, figures) for name in (arm, other))
        if mine is None or theirs is None:
            return Finding(OPEN, None, most)
        return Finding(HOLDS if mine - theirs <= most else FAILS, mine - theirs, most)

    text = f"{race} and tried: the seed of {arm} that is chosen is at most {most:g} above that of {other}"
    return Prediction(text, (race, "tried"), judge)


def study() -> Study:
    options = {"params": "5k", "tokens": "400k", "batch": 64, "seeds": 3, "tuning": "none"}
    arms = (PROGRAM, "ordinary=llama:layers=1,heads=2")
    return Study(
        races=tuple(Race(name, arms, task=task, options=options, smallest="5k") for name, task in TASKS.items()),
        trials=(Trial("tried", tried),),
        predictions=(
            best_below("histogram", "program", 0.03),
            best_below("most_frequent", "program", 0.2),
            best_below("reverse", "program", 0.1),
            *(near_best(name, "program", "ordinary", 0.1) for name in TASKS),
        ),
    )
