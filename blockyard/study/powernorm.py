"""Do running statistics over tokens normalise text as well as each token's own, and better than those of a batch?

Source   arXiv 2003.07845    Slug  powernorm    Family  foundations
Claim    PowerNorm ends lower than batch norm, and no worse than layer norm
Differs  sixty thousand parameters and 73 steps of one rate, the first 25 the warm-up; no figure of drift
"""

from blockyard.study._base import Race, Study, better, level


def study() -> Study:
    options = {"params": "60k", "tokens": "150k", "seeds": 3, "margin": 0.02, "tuning": "none"}
    arms = (
        "power=powernorm:warmup=25",
        "power_of_batch=powernorm:warmup=1000000",
        "layer=powernorm:residual.norm=layer,head.norm=layer",
        "batch=powernorm:residual.norm=batch,head.norm=batch",
    )
    return Study(
        races=(Race("text", arms, options=options),),
        predictions=(better("text", "power", "batch"), level("text", "power", "layer")),
    )
