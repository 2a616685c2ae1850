"""Of one trained model in 3 and in 4 bits, which rounding loses least?

Source   arXiv 2210.17323, 2306.00978, 2306.00317    Family  quantisation
Claim    GPTQ loses at most a fifth of what rounding to the nearest loses; rescaling by activations and learned divisors
         lose less than it, too
Differs  100k parameters on the texts of CPython; 8,192 tokens of calibration; groups of 32 with zero points; tables are
         left in full
"""

from blockyard.study._base import Race, Study, loses_less

HOW = {  # {0}: the grid
    "rtn": "rtn:{0}",
    "gptq": "gptq:{0}",
    "awq": "awq:{0}|rtn:{0}",
    "both": "awq:{0}|gptq:{0}",
    "flexround": "flexround:{0}",
}


def arms() -> tuple[str, ...]:
    """The full model, and every rounding at both numbers of bits."""
    grids = {bits: f"bits={bits},group=32,symmetric=no" for bits in (3, 4)}
    return ("llama", *(f"{name}{bits}=llama|{how.format(grid)}" for bits, grid in grids.items()
                       for name, how in HOW.items()))  # fmt: skip


def study() -> Study:
    options = {"params": "100k", "tokens": "250k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=tuple(
            loses_less("text", f"{name}{bits}", f"rtn{bits}", "llama", share)
            for bits in (3, 4)
            for name, share in (("gptq", 0.2), ("awq", 0.8), ("both", 0.2), ("flexround", 0.5))
        ),
    )
