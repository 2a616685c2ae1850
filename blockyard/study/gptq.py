"""Does making up for each rounding keep a model that plain rounding breaks?

Source   arXiv 2210.17323    Slug  gptq    Family  quantisation
Claim    at 3 bits rounding to the nearest loses much more than GPTQ, which stays close to the full model
Differs  100k parameters on the texts of CPython; 8,192 tokens of calibration; tables are left in full
"""

from blockyard.study._base import Race, Study, better, loses_less

GRIDS = {"3": "bits=3,group=none,symmetric=no", "2": "bits=2,group=32,symmetric=no"}


def arms() -> tuple[str, ...]:
    """The full model, and every grid rounded both ways."""
    found = [f"{how}{bits}=llama|{how}:{grid}" for bits, grid in GRIDS.items() for how in ("gptq", "rtn")]
    return ("llama", *found)


def study() -> Study:
    options = {"params": "100k", "tokens": "250k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            better("text", "gptq3", "rtn3"),
            better("text", "gptq2", "rtn2"),
            loses_less("text", "gptq3", "rtn3", "llama", 0.6),
        ),
    )
