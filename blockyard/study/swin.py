"""Do windows need their shift, and do they then see as much as attention to everything?

Source   arXiv 2103.14030    Slug  swin    Family  images
Claim    shifted windows let all of an image be seen, at the cost of windows
Differs  8 x 8 pixels of winding paths in place of photographs; one grid, no pyramid
"""

from blockyard.study._base import Race, Study, better, level


def study() -> Study:
    flat = "stages=1,layers=4,patch=1,head_dim=16"
    arms = (f"shifted=swin:{flat},window=4", f"straight=swin:{flat},window=4,mixer.shift=0",
            f"whole=swin:{flat},window=8")  # fmt: skip
    options = {"params": "50k", "tokens": "2M", "batch": 32, "seeds": 3, "tuning": "none", "margin": 0.03}
    return Study(
        races=(Race("paths", arms, task="path_finder:size=8,steps=6", options=options),),
        predictions=(better("paths", "shifted", "straight"), level("paths", "shifted", "whole")),
    )
