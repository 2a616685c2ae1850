"""Does a model that is taught to say its next state know better where it stands?

Source   arXiv 2511.05963    Slug  next-latent    Family  objective
Claim    states that are taught to tell the next one keep a truer map of the world, in fewer directions
Differs  a walk on 16 cells; cells are read by the head alone, of a body that is trained no further; 40k parameters
"""

from blockyard.study._base import Race, Study, better, level

SIDE = "torus_walk:side=4"
ARMS = {"plain": "states=0,scores=0", "both": "horizon=1", "distance": "scores=0", "far": "horizon=4"}


def arms(*names: str, after: str = "") -> tuple[str, ...]:
    """The body with some of the terms."""
    return tuple(f"{name}=next_latent:layers=3,{ARMS[name]}{after}" for name in names)


def study() -> Study:
    options = {"params": "40k", "tokens": "800k", "batch": 32, "seeds": 2, "tuning": "none"}
    probed = f",probing=0.25,first_task={SIDE}"
    return Study(
        races=(
            Race("colours", arms("plain", "both", "distance"), task=SIDE, options={**options, "margin": 0.02}),
            Race("cells", arms("plain", "both", "far", after=probed), task=f"{SIDE},ask=cell", options=options),
        ),
        predictions=(
            better("cells", "both", "plain"),
            better("cells", "far", "plain"),
            level("colours", "both", "plain"),
            level("colours", "distance", "plain"),
        ),
    )
