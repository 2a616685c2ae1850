"""Does one block that loops copy and reverse better than as many layers of their own, of equal parameters?

Source   arXiv 1807.03819    Slug  universal-transformer    Family  depth
Claim    a shared block with halting generalises on strings where untied layers do not
Differs  strings of four letters, tested at eight too; equal parameters, so that the looped block is the wider one;
         250 steps of one rate
"""

from blockyard.study._base import Race, Study, below, better

UNTIED = "untied=universal_transformer:model.depth=depth:stack,depth.layers=4,stem.position=sinusoidal"
LONGER = 2 * 8 + 4  # tokens of a row of strings twice as long


def study() -> Study:
    options = {"params": "60k", "tokens": "250k", "batch": 64, "seeds": 3, "tuning": "none"}
    arms = ("universal=universal_transformer", UNTIED)
    return Study(
        races=tuple(Race(name, arms, task=f"{name}:count=4,offset=8", options=options) for name in ("copy", "reverse")),
        predictions=(
            better("copy", "universal", "untied"),
            better("reverse", "universal", "untied"),
            below("copy", "universal", 0.5, LONGER),
        ),
    )
