"""Does a divisor for every weight lose less than rounding up or down does, where a whole matrix has one scale?

Source   arXiv 2306.00317    Slug  flexround    Family  quantisation
Claim    at one scale a matrix learned divisors lose less than rounding to the nearest, and than learned up or down
Differs  100k parameters on the texts of CPython; 8,192 tokens of calibration and 300 steps a block for both that learn;
         all three on the grid that is cut where that loses least
"""

from blockyard.study._base import Race, Study, better, loses_less

HOW = {"rtn": "rtn:ends=cut", "up_or_down": "adaround:steps=300", "divided": "flexround:steps=300"}


def arms() -> tuple[str, ...]:
    """The full model, and matrices in 3 and 4 bits in three ways."""
    return ("llama", *(f"{name}{bits}=llama|{how},bits={bits},group=matrix" for bits in (3, 4)
                       for name, how in HOW.items()))  # fmt: skip


def study() -> Study:
    options = {"params": "100k", "tokens": "250k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            better("text", "divided3", "rtn3"),
            loses_less("text", "divided3", "rtn3", "llama", 0.5),
            loses_less("text", "divided4", "rtn4", "llama", 0.5),
            loses_less("text", "divided3", "up_or_down3", "llama", 1.0),
        ),
    )
