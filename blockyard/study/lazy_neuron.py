"""Are fewer units of a channel active the more there are, and does it harm to keep the largest alone?

Source   arXiv 2210.06313    Slug  lazy-neuron    Family  foundations
Claim    most hidden units of trained ReLU channels are zero, the more the wider; the largest alone lose nothing, and
         lose less to wrong labels
Differs  a few hundred steps at sixty to a hundred thousand parameters, where units have little time to fall silent;
         of as many parameters the model with more units has the narrower stream; digits of 8 x 8 pixels
"""

from blockyard.study._base import Race, Study, better, less, level, lower

NOISE = "classify:noise=0.4"
TEXT = (
    "narrow=polycom:activation=relu,layers=2,dim=64",  # about 200 units
    "wide=polycom:activation=relu,layers=2,dim=32",  # about 650
    "wide_top_k=polycom:activation=top_k,activation.k=64,layers=2,dim=32",
)
DIGITS = (
    "relu=vit:layers=2,dim=32,channel.activation=relu",
    "top_k=vit:layers=2,dim=32,channel.activation=top_k,activation.k=20",  # of about 390
)


def study() -> Study:
    text = {"params": "100k", "tokens": "300k", "seeds": 2, "tuning": "none", "margin": 0.02}
    digits = {"data": ["digits"], "params": "60k", "tokens": "300k", "batch": 32, "seeds": 4, "tuning": "none",
              "margin": 0.02}  # fmt: skip
    return Study(
        races=(
            Race("text", TEXT, options=text),
            Race("digits", DIGITS, options=digits),
            Race("noisy digits", DIGITS, task=NOISE, options=digits),
        ),
        predictions=(
            less("text", "firing", "wide", "narrow"),
            level("text", "wide_top_k", "wide"),
            level("digits", "top_k", "relu"),
            better("noisy digits", "top_k", "relu"),
            lower("noisy digits", "calibration error", "top_k", "relu"),
        ),
    )
