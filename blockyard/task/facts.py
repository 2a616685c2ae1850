"""A table of facts that is told in several ways and asked for in another: what is stored, and what can be brought out.

    told     . s . . t_rj !        a        a = table[s, r]; of the templates of r the fact (s, r) has `tellings`
    asked    . s . . q_r  ?        a        the same answer, behind a question

Questions of the first `taught` subjects may be shown, those of all others never are. What rows are is a word: `told`
(of all subjects), `taught` (questions of the first), `asked` (of the others), `both` (told and taught, as likely).
Training shows `show`, exams ask `exam`; fine-tuning after pretraining is two phases with such a task each.

Shapes   ids: answers, subjects, templates, questions, fillers, then ! and ?    T = fillers + 3    chance 1/values
Source   arXiv 2508.00901    Slug  one-layer-knowledge    Family  recall
Differs  a template is one token; a reading of the abstract and of pages on it, no code is public
"""

from typing import Annotated, Literal

import numpy as np

from blockyard.core.settings import Count, Natural
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, blank, fits

FILLERS = 8  # different ones


class Facts(Task):
    grows = ("fillers",)
    variants = (
        {}, dict(show="asked", subjects=20, relations=1, taught=10), dict(show="both", exam="asked", tellings=4),
        dict(show="taught", taught=24, fillers=2),
    )  # fmt: skip
    first = "029f6d4c1b4d"

    def __init__(
        self, *, subjects: Annotated[Count, "subjects of the table"] = 64,
        relations: Annotated[Count, "facts of a subject"] = 2, values: Annotated[Count, "different answers"] = 16,
        templates: Annotated[Count, "ways in which facts of a relation are told"] = 8,
        tellings: Annotated[Count, "in how many of them each fact is"] = 2,
        taught: Annotated[Natural, "subjects whose questions may be shown: the first"] = 16,
        show: Annotated[Literal["told", "taught", "asked", "both"], "what training shows"] = "told",
        exam: Annotated[Literal["told", "taught", "asked", "both"], "what exams ask; none: the same"] | None = None,
        fillers: Annotated[Count, "tokens of a row that say nothing"] = 4,
        world: Annotated[Natural, "the seed of the table"] = 0,
    ) -> None:  # fmt: skip
        at_least(2, values=values)
        fits(tellings <= templates, f"facts: tellings={tellings} need as many templates, not {templates}")
        fits(taught <= subjects, f"facts: taught={taught} must not be above subjects={subjects}")
        for each in (show, exam):
            lacks = (each in ("taught", "both") and not taught) or (each == "asked" and taught == subjects)
            fits(not lacks, f"facts: with taught={taught} of {subjects} subjects no row is {each}")
        self.subjects, self.relations, self.templates, self.tellings = subjects, relations, templates, tellings
        self.taught, self.show, self.exam, self.fillers, self.world = taught, show, exam, fillers, world
        self.values, self.answers = values, range(values)
        draw = Draw(world, subjects * relations, stream=2)
        self.table = draw.below(values, 1).reshape(subjects, relations)
        self.told_by = draw.distinct(tellings, templates).reshape(subjects, relations, tellings)
        sizes = (values, subjects, relations * templates, relations, FILLERS, 2)
        self.starts = np.concatenate([[0], np.cumsum(sizes)])  # the first id of each sort, and the vocabulary
        self.vocab, self.length = int(self.starts[-1]), fillers + 3

    @property
    def scored_on(self) -> Task:
        return self if self.exam is None else self.but(show=self.exam, exam=None)

    def sample(self, seed: int, n: int) -> Examples:
        draw, known = Draw(seed, n), self.taught
        question = {"told": np.zeros(n, bool), "both": draw.below(2, 1)[:, 0] == 1}.get(self.show, np.ones(n, bool))
        low, high = (known, self.subjects) if self.show == "asked" else (0, self.subjects)
        s = np.where(question & (self.show != "asked"), draw.below(max(1, known), 1)[:, 0], 0)
        s = np.where(question & (self.show != "asked"), s, low + draw.below(high - low, 1)[:, 0])
        r, j = draw.below(self.relations, 1)[:, 0], draw.below(self.tellings, 1)[:, 0]
        _, subject, template, asks, filler, mark, _ = self.starts
        tokens = filler + draw.below(FILLERS, self.length)
        rows = np.arange(n)
        tokens[rows, draw.below(self.fillers + 1, 1)[:, 0]] = subject + s
        told = template + r * self.templates + self.told_by[s, r, j]
        tokens[:, -2], tokens[:, -1] = np.where(question, asks + r, told), mark + question
        targets = blank(tokens)
        targets[:, -1] = self.table[s, r]
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """What the table says of the last subject and the last relation that were named."""
        _, subject, template, asks, filler, _, _ = self.starts
        s = self._last(tokens - subject, (tokens >= subject) & (tokens < template))
        relation = np.where(tokens < asks, (tokens - template) // self.templates, tokens - asks)
        r = self._last(relation, (tokens >= template) & (tokens < filler))
        return self.table[s, r]

    def _last(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(n,T) the latest value at or before each place that counts, 0 before there is one."""
        place = np.maximum.accumulate(np.where(counts, np.arange(values.shape[1]), -1), 1)
        return np.where(place < 0, 0, np.take_along_axis(values, np.maximum(place, 0), 1))

    def baselines(self) -> dict[str, Predictor]:
        """The commonest answer; the covering of templates says when more can be had of what was taught."""
        common = int(np.bincount(self.table.ravel(), minlength=self.values).argmax())
        return {"commonest": lambda tokens: np.full(tokens.shape, common)}

    def covered(self) -> float:
        """The share of all templates by which any fact of a taught subject is told."""
        met = [set(self.told_by[: self.taught, r].ravel().tolist()) for r in range(self.relations)]
        return sum(map(len, met)) / (self.relations * self.templates)
