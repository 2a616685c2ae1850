"""Does a model trained on two families pick the right one, and what does it say of functions between them?

Source   arXiv 2311.00871    Slug  icl-data-mixtures    Family  in context
Claim    within its mixture a model is nearly as good as one trained on the right family alone; on sums of functions of
         two families it fails
Differs  six numbers of which two matter; lines and waves of one number, as sums of two linear families are linear; as
         many steps for the mixture as for each specialist
"""

from blockyard.study._base import Race, Study, ratio

ARMS = ("attention=llama:layers=3", "recurrent=gla:layers=3")
LINEAR = "in_context:dim=6,points=9,noise=0.05,"
CURVES = "in_context:dim=1,points=9,noise=0.1,family=dense+sinusoid,scored="


def study() -> Study:
    options = {"params": "38k", "tokens": "900k", "batch": 64, "seeds": 2, "tuning": "none"}
    tasks = {
        "mixed_dense": f"{LINEAR}family=dense+sparse,scored=dense",
        "mixed_sparse": f"{LINEAR}family=dense+sparse,scored=sparse",
        "dense": f"{LINEAR}family=dense",
        "sparse": f"{LINEAR}family=sparse",
        "lines": f"{CURVES}dense",
        "waves": f"{CURVES}sinusoid",
        "between": f"{CURVES}between(first=dense,second=sinusoid)",
    }
    return Study(
        races=tuple(Race(name, ARMS, task=task, options=options) for name, task in tasks.items()),
        predictions=(
            ratio("mixed_dense", "dense", "attention", 1.25),
            ratio("mixed_sparse", "sparse", "attention", 1.25),
            ratio("waves", "between", "attention", 0.5),
            ratio("lines", "between", "attention", 0.5),
        ),
    )
