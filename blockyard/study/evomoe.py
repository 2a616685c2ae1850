"""Do experts that grow from a trained channel end lower than experts that are routed sparsely from the start?

Source   arXiv 2112.14397    Slug  evomoe    Family  depth
Claim    dense first and sparse at last beats one expert a token throughout, of equal steps and of equal work
Differs  four Markov chains in place of text; 200 steps of one rate; what experts know of the chains is not measured
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    task, same = "markov_mix:alphabet=8,length=32", {"params": "30k", "batch": 32, "seeds": 3, "tuning": "none"}
    arms = ("evomoe", "switch")
    return Study(
        races=(
            Race("equal steps", arms, task=task, options=same | {"tokens": "200k"}),
            Race("equal work", arms, task=task, options=same | {"flops": "2e10"}),
        ),
        predictions=(better("equal steps", "evomoe", "switch"), better("equal work", "evomoe", "switch")),
    )
