"""Does a step that depends on the token copy what a fixed one cannot?

Source   arXiv 2312.00752    Slug  mamba    Family  recurrent
Claim    selection solves selective copying, time-invariant recurrences do not
Differs  RetNet stands for the time-invariant ones; 32 tokens, not 4096
"""

from blockyard.study._base import Race, Study, below, better


def study() -> Study:
    options = {"params": "150k", "tokens": "2M", "batch": 64, "seeds": 3}
    arms = ("mamba", "mamba2", "retnet")
    return Study(
        races=(Race("copying", arms, task="selective_copying:count=4,length=32", options=options),),
        predictions=(
            better("copying", "mamba", "retnet"),
            better("copying", "mamba2", "retnet"),
            below("copying", "mamba", 0.05),
        ),
    )
