"""Does a model that is taught to say its next state know better where it stands, in fewer directions?

Source   arXiv 2511.05963    Slug  next-latent    Family  objective
Claim    states that are taught to tell the next one keep a truer map of the world, in fewer directions
Differs  a walk on 16 cells, two layers of 48 channels, 800 steps; ranks are those of what the head's table reads
"""

from blockyard.probe import effective_rank_probe, linear_probe
from blockyard.study._base import Figures, Race, Reading, Study, level, smaller
from blockyard.study._trained import asked, by_name, shown, trained

WALK = "torus_walk:side=4,length=48"
TERMS = {"plain": "states=0,scores=0", "both": "horizon=1", "distance": "scores=0"}
SEEDS, READ = (0, 1), "head:normed"


def inside(tier: str) -> Figures:
    """Of what the table reads: its directions, and how often one matrix finds the cell wrongly where it is known."""
    steps, rows = (800, 256) if tier == "small" else (3, 16)
    found = []
    for seed in SEEDS:
        figures = {}
        tokens, cells = shown(asked(WALK, ask="cell"), seed, rows)
        for name in ("plain", "both"):
            model = trained(f"next_latent:dim=48,layers=2,heads=2,{TERMS[name]}", asked(WALK), steps, seed)
            figures[f"{name} rank"] = float(effective_rank_probe(model, tokens, at=READ)[f"{READ}:effective"])
            right = linear_probe(model, tokens, cells[:, -1], at=READ)  # where a row ends nearly all are known
            figures[f"{name} lost"] = 1 - float(right[READ])
        found.append(figures)
    return by_name(found)


def study() -> Study:
    options = {"params": "40k", "tokens": "700k", "batch": 32, "seeds": 2, "tuning": "none", "margin": 0.02}
    arms = tuple(f"{name}=next_latent:layers=2,{terms}" for name, terms in TERMS.items())
    return Study(
        races=(Race("colours", arms, task=WALK, options=options),),
        readings=(Reading("inside", inside),),
        predictions=(
            smaller("inside", "both rank", "plain rank", 0.8),
            smaller("inside", "both lost", "plain lost", 1.05),
            level("colours", "both", "plain"),
            level("colours", "distance", "plain"),
        ),
    )
