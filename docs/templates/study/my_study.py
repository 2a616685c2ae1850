"""Does fading attention copy as well as full attention?

Source   arXiv 2402.01032    Family  recurrent
Claim    a memory of fixed size copies less than attention does
Differs  200k parameters on an artificial task
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    options = {"params": "150k", "tokens": "2M", "batch": 64, "seeds": 3}
    return Study(
        races=(Race("copying", ("llama", "gla"), task="selective_copying:count=8,length=64", options=options),),
        predictions=(better("copying", "llama", "gla"),),  # written before the first run, and left as they are
    )
