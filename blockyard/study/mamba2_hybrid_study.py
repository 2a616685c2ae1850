"""Do a few attention layers give a Mamba-2 model its phone book back?

Source   arXiv 2406.07887    Slug  mamba2-hybrid-study    Family  recurrent
Claim    pure Mamba-2 lags a Transformer on the phone book; with a few attention layers it does not
Differs  6 entries and 100k parameters in place of hundreds of entries and 8 B
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    options = {"params": "100k", "tokens": "2.8M", "batch": 32, "seeds": 3}
    arms = ("llama", "mamba2", "mamba2_hybrid")
    return Study(
        races=(Race("phone book", arms, task="phonebook:entries=6,asks=4", options=options),),
        predictions=(
            better("phone book", "llama", "mamba2"),
            better("phone book", "mamba2_hybrid", "mamba2"),
        ),
    )
