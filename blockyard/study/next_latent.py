"""Does a model that is taught to say its next state know better where it stands, in fewer directions?

Source   arXiv 2511.05963    Slug  next-latent    Family  objective
Claim    states that are taught to tell the next one keep a truer map of the world, in fewer directions
Differs  a walk on 16 cells, two layers in 40k parameters; ranks are those of what the head's table reads
"""

import numpy as np

from blockyard.probe import effective_rank_probe, linear_probe
from blockyard.study._base import Given, Race, Study, Trial, beneath, level
from blockyard.study._shown import asked, shown

WALK = "torus_walk:side=4,length=48"
TERMS = {"plain": "states=0,scores=0", "both": "horizon=1", "distance": "scores=0"}
READ = "head:normed"


def inside(given: Given) -> dict[str, float]:
    """Of what the table reads: its directions, and how often one matrix finds the cell wrongly where it is known."""
    tokens, cells = shown(asked(WALK, ask="cell"), given.seed, 256 if given.tier == "small" else 16)
    figures, sure = {}, np.flatnonzero(cells[:, -1] >= 0)  # where a row ends nearly all are
    for name in ("plain", "both"):
        model = given.trained("colours", name)
        figures[f"{name} rank"] = float(effective_rank_probe(model, tokens, at=READ)[f"{READ}:effective"])
        right = linear_probe(model, tokens[sure], cells[sure, -1], at=READ)
        figures[f"{name} lost"] = 1 - float(right[READ])
    return figures


def study() -> Study:
    options = {"params": "40k", "tokens": "700k", "batch": 32, "seeds": 2, "tuning": "none", "margin": 0.02}
    arms = tuple(f"{name}=next_latent:layers=2,{terms}" for name, terms in TERMS.items())
    return Study(
        races=(Race("colours", arms, task=WALK, options=options),),
        trials=(Trial("inside", inside),),
        predictions=(
            beneath("inside", "both rank", "plain rank", 0.8),
            beneath("inside", "both lost", "plain lost", 1.05),
            level("colours", "both", "plain"),
            level("colours", "distance", "plain"),
        ),
    )
