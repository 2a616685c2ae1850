"""Which way of telling positions answers strings twice as long as those in training, and is none of them the best?

Source   arXiv 2305.19466    Slug  pe-length-generalization    Family  foundations
Claim    decoders without any positions generalise best to longer strings; rotary and absolute ones do poorly
Differs  sixty thousand parameters, four heads, strings of up to 8 letters, a model for each task; longer strings are
         drawn from one letter on: half of them are no longer than in training; ranks are compared pair by pair
"""

from blockyard.study._base import Race, Study, below, better_at

BODY = "llama:heads=4"  # a penalty by distance differs from head to head: one or two heads would hardly have any
ARMS = (
    f"none={BODY},position=none",
    f"sinusoidal={BODY},position=none,stem.position=sinusoidal",
    f"t5={BODY},position=t5",
    f"alibi={BODY},position=alibi",
    f"rope={BODY}",
)
TASKS = ("copy", "reverse", "sort", "modular_sum")
LONGER = 2 * 16  # tokens of a row of strings twice as long


def study() -> Study:
    options = {"params": "60k", "tokens": "200k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=tuple(Race(task, ARMS, task=f"{task}:count=8,letters=10,offset=0", options=options) for task in TASKS),
        predictions=(
            *(below(task, "none", 0.1) for task in TASKS),
            *(better_at(task, LONGER, "none", "sinusoidal") for task in TASKS),
            *(better_at(task, LONGER, "none", "rope") for task in TASKS),
            *(better_at(task, LONGER, "t5", "sinusoidal") for task in TASKS),
        ),
    )
