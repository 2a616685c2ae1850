"""Does a model that derives step by step answer where one that answers at once does not?

Source   arXiv 2410.05339    Slug  nelamkrr    Family  reasoning
Claim    the collection makes none of its own; what its papers share: at once, answers get worse with the depth of the
         proof, and said step by step they do so less, also at depths that training never shows
Differs  sixty thousand parameters; training shows proofs of up to 2 steps, exams ask for up to 4; a derivation counts
         as right when every step is, which is what greedy decoding would write
"""

from blockyard.study._base import Race, Study, lower_in, nearer, ratio

WORLDS = "logic_worlds:depth=2,scored=4,atoms=16,statements=14"


def study() -> Study:
    options = {"params": "60k", "tokens": "1M", "batch": 64, "seeds": 2, "tuning": "none"}
    arms = ("llama", "gla")
    return Study(
        races=(
            Race("at once", arms, task=WORLDS, options=options),
            Race("step by step", arms, task=f"{WORLDS},derivation=yes", options=options),
        ),
        predictions=(
            nearer("at once", "llama", "error at depth 1", "error at depth 4"),
            lower_in("step by step", "at once", "llama", 0.05, "error at depth 4"),
            ratio("step by step", "at once", "llama", 0.75),
        ),
    )
