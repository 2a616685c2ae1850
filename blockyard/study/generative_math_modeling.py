"""Does a harmonic penalty beside rotary positions help with rows four times as long as those in training?

Source   arXiv 2410.18441    Slug  generative-math-modeling    Family  position
Claim    none is measured; proposed: rotary positions and a penalty by the harmonic number of the distance, together
Differs  a reading of one of five proposals: positions; a hundred thousand parameters on bytes, rows of 64
"""

from blockyard.study._base import Race, Study, better_at, level

SHORT, LONG = 64, 256


def study() -> Study:
    options = {"params": "100k", "tokens": "300k", "length": SHORT, "batch": 16, "seeds": 3, "tuning": "none"}
    arms = (
        "rope=llama",
        "alibi=llama:mixer.position=alibi",
        "both=llama:mixer.position=harmonic",
        "penalty=llama:mixer.position=harmonic,position.turn=none",
    )
    return Study(
        races=(Race("text", arms, options={**options, "margin": 0.02}),),
        predictions=(better_at("text", LONG, "both", "rope"), level("text", "both", "rope")),
    )
