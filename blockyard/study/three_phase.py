"""Which of the changes of a stream in three stripes helps: the norms, the turns, or the positions in its mean?

Source   arXiv 2604.14430    Slug  three-phase    Family  foundations
Claim    all together end lower than the plain body
Differs  4 layers of 48 channels and 100k parameters on the texts of CPython; a model that turns has half as many
         sublayers more, with which output projections start smaller
"""

from blockyard.study._base import Race, Study, better, level

SIZE = "dim=48,layers=4,heads=6,kv_heads=3,eps=1e-6"
STRIPED = "residual.norm=group_rms,head.norm=group_rms,norm.groups=3,norm.eps=1e-6"
ARMS = {
    "plain": f"llama:{SIZE}",
    "three": f"three_phase:{SIZE}",
    "one": f"three_phase:{SIZE},stripes=1",
    "no_horn": f"three_phase:{SIZE},stem.position=none",
    "no_turn": f"llama:{SIZE},stem.position=horn,{STRIPED}",
    "norms": f"llama:{SIZE},{STRIPED}",
}


def study() -> Study:
    options = {"params": "100k", "tokens": "300k", "seeds": 3, "margin": 0.01, "tuning": "none"}
    return Study(
        races=(Race("text", tuple(f"{name}={arm}" for name, arm in ARMS.items()), options=options),),
        predictions=(
            better("text", "three", "plain"),
            level("text", "three", "one"),
            level("text", "three", "no_turn"),  # unit gains and no horn: turns fold into the weights
        ),
    )
