"""Does a gate that depends on the token forget better than fixed fading?

Source   arXiv 2312.06635    Slug  gla    Family  recurrent
Claim    GLA is ahead of RetNet on language, and holds beyond the length it was trained at
Differs  200k parameters on the texts of CPython
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    copy = {"params": "150k", "tokens": "2M", "batch": 64, "seeds": 3}
    text = {"params": "200k", "tokens": "500k", "seeds": 4}
    return Study(
        races=(
            Race("text", ("gla", "retnet"), options=text),
            Race("copying", ("gla", "retnet"), task="selective_copying:count=4,length=32", options=copy),
        ),
        predictions=(better("text", "gla", "retnet"), better("copying", "gla", "retnet")),
    )
