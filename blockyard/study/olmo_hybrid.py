"""Does a hybrid of attention and recurrence do what neither parent does?

Source   arXiv 2604.03444    Slug  olmo-hybrid    Family  recurrent
Claim    attention recalls, a delta rule tracks state, and tasks that need both need both
Differs  swap-and-recall of 2 slots; a hundred thousand parameters
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    options = {"params": "120k", "tokens": "2.5M", "batch": 32, "seeds": 3}
    arms = ("hybrid=olmo_hybrid", "attention=llama", "delta=gated_deltanet:beta_max=2")
    return Study(
        races=(Race("swap and recall", arms, task="swap_recall", options=options),),
        predictions=(
            better("swap and recall", "hybrid", "attention"),
            better("swap and recall", "hybrid", "delta"),
        ),
    )
