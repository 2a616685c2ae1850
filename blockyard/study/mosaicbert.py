"""Which of MosaicBERT's changes to BERT name more hidden tokens after the same number of tokens?

Source   arXiv 2312.17482    Slug  mosaicbert    Family  documents
Claim    a bias by distance, gated channels and more masking together learn faster than BERT, and read longer texts
Differs  a hundred thousand parameters on bytes, equal tokens in place of equal time, masked tokens in place of GLUE
"""

from blockyard.study._base import Race, Study, below, better

ARMS = (
    "plain=bert",
    "alibi=bert:mixer.position=alibi,stem.position=none",
    "gated=mosaicbert:mixer.position=none,stem.position=learned,corrupt.share=0.15",
    "more=bert:corrupt.share=0.3",
    "all=mosaicbert",
)


def study() -> Study:
    options = {"params": "100k", "tokens": "250k", "length": 128, "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("hidden", ARMS, task="mlm", options=options),),
        predictions=(
            better("hidden", "all", "plain"),
            better("hidden", "alibi", "plain"),
            better("hidden", "gated", "plain"),
            better("hidden", "more", "plain"),
            below("hidden", "all", 4.6, length=256),  # what letters alone say, at twice the length of training
        ),
    )
