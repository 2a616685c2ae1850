"""Are facts that were only told brought out by questions, the better the more templates the taught ones cover?

Source   arXiv 2508.00901    Slug  one-layer-knowledge    Family  recall
Claim    with many tellings a fact, few templates and many taught facts, what was never asked in training is answered;
         and without an MLP little is stored
Differs  told and taught rows are shown together, not one after the other; two cells; a reading of the abstract
"""

from blockyard.study._base import Race, Study, below, better, ratio

FACTS = "facts:subjects=100,relations=1,values=20,show=both,exam=asked"
TOLD = "facts:subjects=100,relations=1,values=20,show=told"
CELLS = {"covered": "templates=8,tellings=4,taught=80", "bare": "templates=32,tellings=1,taught=20"}
ARMS = ("layer=one_layer:dim=48,ffn=128", "attention=one_layer:dim=64,ffn=0")


def study() -> Study:
    options = {"params": "35k", "tokens": "1M", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            *(Race(name, ARMS, task=f"{FACTS},{cell}", options=options) for name, cell in CELLS.items()),
            Race("stored", ARMS, task=f"{TOLD},{CELLS['covered']}", options=options),
        ),
        predictions=(
            below("covered", "layer", 0.3), ratio("covered", "bare", "layer", 0.5),
            better("stored", "layer", "attention"),
        ),
    )  # fmt: skip
