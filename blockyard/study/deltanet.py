"""Does writing by the delta rule recall better than adding, at equal size?

Source   arXiv 2406.06484, 2412.06464    Slug  deltanet    Family  recurrent
Claim    DeltaNet beats GLA and plain linear attention on recall; more so where keys are bound again
Differs  a small state (one head of 32) so that its capacity binds; seconds of training, not days
"""

from blockyard.study._base import Race, Study, better

ARMS = ("deltanet:heads=2,layers=2", "gla:heads=2,layers=2", "gated_deltanet:heads=2,layers=2")
EQUAL = {"params": "100k", "tokens": "2M", "batch": 64, "seeds": 3}


def study() -> Study:
    recall, again = "mqar:pairs=8,length=48,keys=32,values=32", "mqar:pairs=8,rewrites=4,length=48,keys=32,values=32"
    return Study(
        races=(
            Race("recall", ARMS, task=recall, options=EQUAL),
            Race("rebinding", ARMS, task=again, options=EQUAL),
        ),
        predictions=(
            better("recall", "deltanet", "gla"),
            better("rebinding", "deltanet", "gla"),
            better("rebinding", "gated_deltanet", "gla"),
        ),
    )
