"""Does attention over variables find what one series says of another?

Source   arXiv 2310.06625    Slug  itransformer    Family  series
Claim    inverted, a plain Transformer forecasts many variables better
Differs  one made leader with seven followers; the other arms read every variable by itself
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    options = {"data": ["followers"], "params": "40k", "tokens": "600k", "batch": 32, "seeds": 3, "tuning": "none"}
    arms = ("itransformer", "patchtst", "nlinear")
    return Study(
        races=(Race("followers", arms, task="forecast:horizon=12,length=48", options=options),),
        predictions=(
            better("followers", "itransformer", "patchtst"),
            better("followers", "itransformer", "nlinear"),
        ),
    )
