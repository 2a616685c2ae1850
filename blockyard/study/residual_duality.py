"""Is mixing along depth worth what it costs, and is a short window of tokens worth as much?

Source   arXiv 2603.16039    Slug  residual-duality    Family  foundations
Claim    one operator along two axes: for local mixing take the sequence; where the shortcut should change, a delta
Differs  6 layers of 100k parameters in all on the texts of CPython: what a rule owns is taken from channels
"""

from blockyard.study._base import Race, Study, level

RULES = {
    "plain": "residual=prenorm", "weighted": "residual=dense_former", "read": "residual=depth_read,residual.head_dim=8",
    "window": "residual=prenorm,local=4", "delta": "residual=delta",
}  # fmt: skip


def study() -> Study:
    arms = tuple(f"{name}=residual_duality:layers=6,{rule}" for name, rule in RULES.items())
    options = {"params": "100k", "tokens": "300k", "seeds": 2, "margin": 0.01, "tuning": "none"}
    return Study(
        races=(Race("text", arms, options=options),),
        predictions=(
            level("text", "weighted", "plain"),
            level("text", "window", "plain"),
            level("text", "read", "plain"),
        ),
    )
