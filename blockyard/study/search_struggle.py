"""Is searching a graph learned where the examples ask for it, and does it get harder as graphs grow?

Source   arXiv 2412.04703    Slug  search-struggle    Family  reasoning
Claim    of naive graphs models learn to look an edge or two ahead; of balanced ones further, the less the larger
         they are
Differs  graphs of eight vertices and of twelve, two edges ahead, three layers, three hundred steps of AdamW (paper:
         forty vertices, many more steps of another optimiser): what needs longer is not seen
"""

from blockyard.study._base import Race, Study, better, lower_in, nearer
from blockyard.study._shown import asked

ARMS = ("added=llama:layers=3", "beside=llama:layers=3,stem=concat_positions,head.tied=no,position=none")
NEAR, FAR = "error at lookahead 1", "error at lookahead 2"
ROWS = 300 * 64


def race(name: str, settings: str) -> Race:
    """As many graphs, whatever their size."""
    task = f"graph_search:lookahead=2,{settings}"
    options = {"params": "60k", "tokens": ROWS * asked(task).length, "batch": 64, "seeds": 2, "tuning": "none"}
    return Race(name, ARMS, task=task, options=options)


def study() -> Study:
    return Study(
        races=(
            race("balanced", "vertices=8"),
            race("naive", "vertices=8,graphs=naive,scored=balanced"),
            race("larger", "vertices=12"),
        ),
        predictions=(
            lower_in("balanced", "naive", "beside", 0.15, FAR),
            lower_in("balanced", "larger", "beside", 0.1),
            nearer("naive", "beside", NEAR, FAR),
            better("balanced", "beside", "added"),
        ),
    )
