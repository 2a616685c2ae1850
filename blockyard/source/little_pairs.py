"""Nine hundred pairs of sentences, made from a seed: the second says the same, the contrary, or something else.

    Anna has the red cup. / The red cup is with Anna.   same        .. with Ben.   other        .. The red hat ..   new

Source   none    Family  text
Differs  nothing known
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from blockyard.data.annotated import Rows
from blockyard.data.table import Table
from blockyard.source._base import Source
from blockyard.source.little_questions import NAMES

COUNT = 900
COLOURS, THINGS = ["red", "blue", "old", "small"], ["cup", "hat", "key", "box"]


class LittlePairs(Source):
    gives = "rows of texts"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Rows:
        draw, found = Random(0), dict[tuple[str, str], str]()
        while len(found) < COUNT:
            first, second, label = _pair(draw)
            found.setdefault((first, second), label)
        cells = [[a for a, _ in found], [b for _, b in found], [*found.values()]]
        columns = {name: np.array(words, object) for name, words in zip(("first", "second", "label"), cells)}
        return Rows(Table.of("little_pairs", columns), how.get("codec") or "bytes")


def _pair(draw: Random) -> tuple[str, str, str]:
    """Two sentences and how they stand to one another."""
    (name, other), (colour, paint), (thing, piece) = (draw.sample(each, 2) for each in (NAMES, COLOURS, THINGS))
    label = draw.choice(("same", "other", "new"))
    said = f"{paint} {thing}" if draw.random() < 0.5 else f"{colour} {piece}"
    what, who = said if label == "new" else f"{colour} {thing}", other if label == "other" else name
    return f"{name} has the {colour} {thing}.", f"The {what} is with {who}.", label
