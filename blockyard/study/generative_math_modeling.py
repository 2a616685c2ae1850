"""Does a harmonic penalty beside rotary positions help with rows four times as long as those in training?

Source   arXiv 2410.18441    Slug  generative-math-modeling    Family  position
Claim    none is measured; proposed: rotary positions and a penalty by the harmonic number of the distance, together
Differs  a reading of one of five proposals: positions; a hundred thousand parameters on bytes, rows of 64, four
         heads, since a penalty of one or two is next to none
"""

from blockyard.study._base import Race, Study, better_at, level

SHORT, LONG = 64, 256
REACH = (0.5, 1, 2, 4)


def study() -> Study:
    budget = {"params": "100k", "tokens": "300k", "length": SHORT, "batch": 16}
    options = {**budget, "seeds": 3, "tuning": "none", "reach": REACH}
    arms = (
        "rope=llama:heads=4",
        "alibi=llama:heads=4,position=alibi",
        "both=llama:heads=4,position=harmonic",
        "penalty=llama:heads=4,position=harmonic,position.turn=none",
        "factor=llama:heads=4,position=harmonic_factor",
    )
    return Study(
        races=(Race("text", arms, options={**options, "margin": 0.02}),),
        predictions=(better_at("text", LONG, "both", "rope"), level("text", "both", "rope")),
    )
