"""Do projections of a learned size keep attention wide, and make norms dispensable?

Source   arXiv 2303.06296    Slug  sigma-reparam    Family  foundations
Claim    attention keeps more entropy at every rate of learning, and training without norms ends as well as with them
Differs  sixty thousand parameters; every arm takes the best of four rates, the usual short warm-up stays (a comparison
         knows no schedule without one), and entropy is that of the trained model, not the least of the run
"""

from blockyard.study._base import Race, Study, better, less, level

BARE = "residual.norm=none,head.norm=none"
TEXT = (
    "plain=llama",
    "sigma=llama:model.linear=sigma",
    f"sigma_bare=llama:model.linear=sigma,{BARE}",
    f"bare=llama:{BARE}",
)
DIGITS = ("plain=vit", "sigma=sigma_reparam", "sigma_bare=sigma_reparam:norm=none")


def study() -> Study:
    text = {"params": "60k", "tokens": "120k", "seeds": 2, "tuning": "fit"}
    digits = {"data": ["digits"], "params": "60k", "tokens": "150k", "batch": 32, "seeds": 3, "margin": 0.02}
    return Study(
        races=(Race("text", TEXT, options=text), Race("digits", DIGITS, options=digits)),
        predictions=(
            less("text", "entropy", "plain", "sigma"),
            better("text", "sigma_bare", "bare"),
            level("digits", "sigma", "plain"),
            level("digits", "sigma_bare", "plain"),
        ),
    )
