"""Does a full matrix that leads the start of training help channels whose matrices are products?

Source   arXiv 2406.16450    Slug  structured-ffn    Family  foundations
Claim    self-guided training ends lower for each structure; structured and wide beats dense and narrow
Differs  a hundred and twenty thousand parameters on bytes, equal parameters and tokens; a guided step costs more
"""

from blockyard.study._base import Race, Study, better

STRUCTURES = ("low_rank", "block_dense", "block_shuffle")
ARMS = (
    "dense=polycom:activation=gelu",
    *(f"{name}=structured_ffn:guided=no,structure={name}" for name in STRUCTURES),
    *(f"{name}_guided=structured_ffn:structure={name}" for name in STRUCTURES),
)


def study() -> Study:
    options = {"params": "120k", "tokens": "250k", "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("text", ARMS, options=options),),
        predictions=(
            *(better("text", f"{name}_guided", name) for name in STRUCTURES),
            better("text", "block_shuffle_guided", "dense"),
        ),
    )
