"""How much of counting letters is decided by what a token is, and does writing them out first help?

Source   arXiv 2410.19730    Slug  counting-tokenization    Family  counting
Claim    letters are counted worse where several stand in one token; steps written out help where tokens are letters
Differs  models of forty thousand parameters trained on counting alone, equal strings to each (paper: large models
         that are asked); they can learn by heart what a chunk holds, so the effect is smaller
"""

from blockyard.study._base import Race, Study, below, lower_in, nearer
from blockyard.study._shown import asked

ARMS = ("attention=llama:layers=2", "recurrent=gla:layers=2")
CUTS = {"letters": "characters", "chunks": "chunks,size=4", "apart": "separated"}
ROWS = 300 * 64
SHORT, LONG = "error at letters up to 6", "error at letters up to 16"


def race(cut: str, trace: bool = False) -> Race:
    """As many strings whatever the cut."""
    name, written = (f"{cut}_written_out", ",trace=yes") if trace else (cut, "")
    task = f"counting:tokens={CUTS[cut]}{written}"
    options = {"params": "40k", "tokens": ROWS * asked(task).length, "batch": 64, "seeds": 2, "tuning": "none"}
    return Race(name, ARMS, task=task, options=options)


def study() -> Study:
    return Study(
        races=(
            *(race(cut) for cut in CUTS),
            *(race(cut, trace=True) for cut in ("letters", "chunks")),
        ),
        predictions=(
            below("letters_written_out", "attention", 0.05),
            lower_in("letters_written_out", "chunks_written_out", "attention", 0.1),
            lower_in("letters_written_out", "letters", "attention", 0.0),
            lower_in("letters", "chunks", "recurrent", 0.0),
            *(nearer(name, "attention", SHORT, LONG) for name in CUTS),
        ),
    )
