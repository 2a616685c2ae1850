"""Does a transition with negative eigenvalues track what one without cannot?

Source   arXiv 2411.12537    Slug  negative-eigenvalues    Family  recurrent
Claim    linear recurrences with eigenvalues in [0, 1] cannot solve parity; widened to [-1, 1] they can
Differs  one length in training (40); tested at 160
"""

from blockyard.study._base import Race, Study, above, below, better

ARMS = ("wide=deltanet:layers=1,heads=4,beta_max=2", "narrow=deltanet:layers=1,heads=4")


def study() -> Study:
    options = {"params": "60k", "tokens": "4M", "batch": 64, "seeds": 3}
    return Study(
        races=(
            Race("parity", ARMS, task="parity:length=40", options=options),
            Race("swaps", ARMS, task="group_word:group=S3,length=32,moves=few", options=options),
        ),
        predictions=(
            better("parity", "wide", "narrow"),
            below("parity", "wide", 0.05, length=160),
            above("parity", "narrow", 0.3, length=160),
            better("swaps", "wide", "narrow"),
        ),
    )
