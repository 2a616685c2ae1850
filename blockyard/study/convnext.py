"""Does a wide filter do in the same skeleton what windows of attention do?

Source   arXiv 2201.03545    Slug  convnext    Family  images
Claim    with a Transformer's choices around it, convolution reaches what windows of attention reach
Differs  1,797 digits of 8 x 8 pixels in place of photographs; the last step of the paper's ladder only
"""

from blockyard.study._base import Race, Study, level


def study() -> Study:
    arms = ("filter=convnext:kernel=3", "window=swin:window=2")
    options = {"data": ["digits"], "params": "100k", "tokens": "150k", "batch": 32, "seeds": 4, "tuning": "none",
               "margin": 0.02}  # fmt: skip
    return Study(
        races=(Race("digits", arms, options=options),),
        predictions=(level("digits", "filter", "window"),),
    )
