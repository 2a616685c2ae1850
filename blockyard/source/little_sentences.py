"""Eight hundred short sentences with parts of speech, made from a seed: several words are two parts, by their place.

    the(DET) light(ADJ) box(NOUN) can(AUX) fall(VERB)        a(DET) can(NOUN) saw(VERB) the(DET) light(NOUN)

Source   none    Family  text
Differs  nothing known
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from blockyard.data.annotated import Tagged
from blockyard.source._base import Source

COUNT = 800
WORDS = dict(
    DET="the a this every", ADJ="light red old cold fast small open",
    NOUN="light can saw box play cold fall walk cat river man", VERB="saw can light play fall walk box sees likes",
    AUX="can will must", ADV="fast today again slowly", PRON="she he it",
)  # fmt: skip


class LittleSentences(Source):
    gives = "tagged"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Tagged:
        draw, found = Random(0), dict[tuple[tuple[str, str], ...], None]()
        while len(found) < COUNT:
            found.setdefault(tuple(_sentence(draw)))
        words, tags = zip(*(zip(*each) for each in found))
        return Tagged("little_sentences", words, tags, how.get("codec") or "bytes")


def _sentence(draw: Random) -> list[tuple[str, str]]:
    """A subject, what it does, perhaps to whom and how."""
    kinds = [*_thing(draw), *draw.choice((["VERB"], ["AUX", "VERB"]))]
    kinds += _thing(draw) if draw.random() < 0.6 else []
    kinds += ["ADV"] if draw.random() < 0.4 else []
    return [(draw.choice(WORDS[kind].split()), kind) for kind in kinds]


def _thing(draw: Random) -> list[str]:
    return draw.choice((["PRON"], ["DET", "NOUN"], ["DET", "ADJ", "NOUN"]))
