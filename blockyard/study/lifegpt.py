"""Does a plain decoder learn the rule of a cellular automaton, and do hidden keys or boards of every density help?

Source   arXiv 2409.12182    Slug  lifegpt    Family  foundations
Claim    nearly every cell is right, on boards that were never seen; boards of every density teach more than even ones
Differs  a ring of 12 cells and a torus of 16 in place of 1,024; 40k parameters; one step ahead
"""

from blockyard.study._base import Race, Study, below, better, level, lower, ratio

ARMS = ("plain=lifegpt:layers=3,hidden=0", "forgetful=lifegpt:layers=3")
RING = "rule110:size=12"


def study() -> Study:
    options = {"params": "40k", "tokens": "700k", "batch": 32, "seeds": 2, "tuning": "none", "margin": 0.02}
    return Study(
        races=(
            Race("ring", ARMS, task=RING, options=options),
            Race("even", ARMS, task=f"{RING},density=0.5", options=options),
            Race("life", ARMS, task="life:side=4", options=options),
        ),
        predictions=(
            below("ring", "plain", 0.01),
            level("ring", "forgetful", "plain"),
            ratio("ring", "even", "plain", 0.9),
            below("life", "plain", 0.1),
            better("life", "forgetful", "plain"),
            lower("life", "wrong boards", "forgetful", "plain"),
        ),
    )
