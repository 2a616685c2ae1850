"""Which Boolean functions does a model learn in context, and does it learn faster where it is taught?

Source   arXiv 2310.03016    Slug  icl-discrete-functions    Family  in context
Claim    near the best on conjunctions, at chance on parities, with attention or nearly as well without; taught by a
         sequence that leaves one conjunction only, a model makes hardly an error behind it
Differs  6 numbers in place of 28, 14 examples, 40k parameters; one attention-free mixer; what was taught is held beside
         as many examples that teach nothing, after which few errors are left, too
"""

from blockyard.study._base import Race, Study, above, figure_below, lower_in, within

ARMS = ("attention=llama:layers=3", "gated=gla:layers=3")
TASK = "boolean:dim=6,points=14"


def study() -> Study:
    options = {"params": "40k", "tokens": "500k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("conjunction", ARMS, task=TASK, options=options),
            Race("parity", ARMS, task=f"{TASK},function=parity", options=options),
            Race("taught", ARMS, task=f"{TASK},teach=True", options=options),
        ),
        predictions=(
            within("conjunction", "attention", "nearest", 0.9),
            within("conjunction", "gated", "nearest", 0.9),
            within("conjunction", "attention", "oracle", 1.3),
            above("parity", "attention", 0.4),
            above("parity", "gated", 0.4),
            figure_below("taught", "attention", "error at the end", 0.05),
            lower_in("taught", "conjunction", "attention", 0.05, "error halfway"),
        ),
    )
