"""Of one trained model in 3 and in 4 bits, does a divisor for every weight lose less than other roundings do?

Source   arXiv 2306.00317, 2210.17323, 2306.00978    Slug  flexround    Family  quantisation
Claim    at one scale a matrix learned divisors lose less than rounding to the nearest, and than learned up or down; in
         groups of 32 GPTQ loses at most a fifth of what rounding to the nearest does
Differs  60k parameters on the texts of CPython; 8,192 tokens of calibration and 300 steps a block for all that learn;
         groups of 32 have zero points; with one scale a matrix all stand on the grid that is cut where that loses least
"""

from blockyard.study._base import Race, Study, loses_less

GROUPED = {  # {0}: the grid
    "rtn": "rtn:{0}",
    "gptq": "gptq:{0}",
    "awq": "awq:{0}|rtn:{0}",
    "flex": "flexround:{0}",
}
WHOLE = {"rtn": "rtn:ends=cut,{0}", "up_or_down": "adaround:{0}", "flex": "flexround:{0}"}


def arms() -> tuple[str, ...]:
    """The full model, groups of 32 in four ways at 3 and 4 bits, and matrices with one scale in three ways at 3."""
    grouped = [f"{name}{bits}=llama|{how.format(f'bits={bits},group=32,symmetric=no')}" for bits in (3, 4)
               for name, how in GROUPED.items()]  # fmt: skip
    whole = [f"{name}_whole=llama|{how.format('bits=3,group=matrix')}" for name, how in WHOLE.items()]
    return ("llama", *grouped, *whole)


def study() -> Study:
    options = {"params": "60k", "tokens": "120k", "seeds": 2, "tuning": "none"}
    grouped = [
        loses_less("text", f"{name}{bits}", f"rtn{bits}", "llama", share)
        for bits in (3, 4)
        for name, share in (("gptq", 0.2), ("awq", 0.8), ("flex", 0.5))
    ]
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            loses_less("text", "flex_whole", "rtn_whole", "llama", 0.5),
            loses_less("text", "flex_whole", "up_or_down_whole", "llama", 1.0),
            *grouped,
        ),
    )
