"""Six hundred questions about short texts, made from a seed: who lives where, and who has what.

    Anna lives in Rome. Ben has the red cup. Carl lives in Oslo.        Where does Carl live? Oslo

Source   none    Family  text
Differs  nothing known
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from blockyard.data.annotated import Questions
from blockyard.source._base import Source

COUNT, FACTS = 600, 3
NAMES = ["Anna", "Ben", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana"]
TOWNS = ["Rome", "Oslo", "Bern", "Lima", "Cairo", "Delhi", "Kyoto", "Quito"]
THINGS = [f"the {colour} {thing}" for colour in ["red", "blue", "old"] for thing in ["cup", "hat", "key"]]


class LittleQuestions(Source):
    gives = "questions"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Questions:
        draw, found = Random(0), dict[tuple[str, str], tuple[int, int]]()
        while len(found) < COUNT:
            text, question, answer = _asked(draw)
            start = text.index(answer)
            found.setdefault((text, question), (start, start + len(answer)))
        contexts, questions = zip(*found)
        return Questions("little_questions", contexts, questions, [*found.values()], how.get("codec") or "bytes")


def _asked(draw: Random) -> tuple[str, str, str]:
    """A text, a question and its answer; nobody and nothing is named twice in a text."""
    names, towns, things = (draw.sample(each, FACTS) for each in (NAMES, TOWNS, THINGS))
    facts, asked = [], []
    for name, town, thing in zip(names, towns, things):
        if draw.random() < 0.5:
            facts.append(f"{name} lives in {town}.")
            asked.append((f"Where does {name} live?", town))
        else:
            facts.append(f"{name} has {thing}.")
            asked.append((f"What does {name} have?", thing))
    return " ".join(facts), *draw.choice(asked)
