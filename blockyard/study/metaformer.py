"""How much of a Transformer's quality is its skeleton, whatever mixes the tokens inside it?

Source   arXiv 2111.11418    Slug  metaformer    Family  images
Claim    with the mean of neighbours in place of attention the skeleton is about as good, without any mixer it is not
Differs  1,797 digits of 8 x 8 pixels in place of photographs; two stages
"""

from blockyard.study._base import Race, Study, better, level


def study() -> Study:
    mixers = {"pool": "pool2d", "attention": "attention", "filter": "depthwise2d", "random": "fixed_random",
              "nothing": "identity"}  # fmt: skip
    arms = tuple(f"{label}=metaformer:mixer=mixer:{name}" for label, name in mixers.items())
    options = {"data": ["digits"], "params": "60k", "tokens": "150k", "batch": 32, "seeds": 3, "tuning": "none",
               "margin": 0.03}  # fmt: skip
    return Study(
        races=(Race("digits", arms, options=options),),
        predictions=(
            level("digits", "pool", "attention"), level("digits", "filter", "attention"),
            better("digits", "pool", "nothing"),
        ),
    )  # fmt: skip
