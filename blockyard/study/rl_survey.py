"""Does a memory decide a maze, and does a promised return make more of poor teachers than imitation?

Source   arXiv 2307.05979    Slug  rl-survey    Family  acting
Claim    what the survey reports of others: attention keeps what was seen long ago, where a short window cannot; who is
         told the return does better on mixed episodes than who imitates all; a gated residual rule stays trainable at
         rates at which a plain post-norm does not
Differs  sixty thousand parameters, twice as many in the race of rates; worlds of a few states, teachers by dynamic
         programming; the share of episodes that are not played as by the best plan, step by step beside it
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, above, below, lower_in

MAZE = "cloning:environment=t_maze(length=24)"
ROOM = "environment=gridworld(size=5),best=0.3,worst=0.4"
RATES = (3e-3, 1.2e-2, 4.8e-2)
axes = {
    "agent": {
        "entities": "out of scope: one sight a step", "recall": "",
        "transition": "out of scope: worlds are tables, and nothing learns one",
        "redistribution": "out of scope: rewards stay where they are", "return-conditioned": "", "imitation": "",
        "in-context": "", "stabiliser": "",
    },
    "data": {"offline": "", "online": "out of scope: nothing here learns while it acts"},
    "tests": {"memory": "", "credit": "", "in-context": "", "delay": ""},
}  # fmt: skip
LOST = 0.45  # of the episodes of the maze: the turn is a guess, or worse


def fewer_lost(race: str, a: str, b: str) -> Prediction:
    """Of the rates that were tried, fewer leave a where the turn is a guess than b; so does a run that diverged."""

    def judge(result: Report) -> Finding:
        ours, theirs = (sum(t is None or t > LOST for t in result.arm(arm).trials) for arm in (a, b))
        return Finding(HOLDS if ours < theirs else OPEN if ours == theirs else FAILS, theirs - ours, 0.0)

    return Prediction(f"{race}: fewer rates fail for {a} than for {b}", race, judge)


def study() -> Study:
    options = {"params": "60k", "tokens": "300k", "batch": 32, "seeds": 2, "tuning": "none"}
    window = "window=llama:mixer.pattern=band,pattern.window=8"
    segments = "segments=llama:mixer.pattern=segments,pattern.size=12,pattern.memory=12"
    rules = ("gated=llama:residual=gated", "postnorm=llama:residual=postnorm")
    sweep = {key: value for key, value in options.items() if key != "tuning"} | {
        "rates": RATES,
        "tokens": "100k",
        "params": "120k",
    }
    return Study(
        races=(
            Race("maze", ("llama", window, segments), task=MAZE, options=options),
            Race("promised", ("llama", "gla"), task=f"return_to_go:{ROOM}", options=options),
            Race("imitated", ("llama", "gla"), task=f"cloning:{ROOM}", options=options),
            Race("rates", rules, task=MAZE, options=sweep, smallest="120k"),
        ),
        predictions=(
            below("maze", "llama", 0.05), above("maze", "window", 0.4), below("maze", "segments", 0.05),
            lower_in("promised", "imitated", "llama", 0.1), fewer_lost("rates", "gated", "postnorm"),
        ),
    )  # fmt: skip
