"""Facts of a fixed graph, and what follows from two of them.

    h r = t                    a fact, always trained on
    h r1 r2 = t                what follows: (h,r1) -> b, (b,r2) -> t; a share of it is trained on, the rest is asked
    h r1 r2 = b = t            the same with `trace`

Every entity has `facts` facts, and `added` random ones more, true to types. A share of the facts (`apart`) is in no
item that is trained on. Exams ask about items from other facts that are held out (`held`, the same ones whatever is
added), and about all whose facts are both apart; items of one fact of each sort are nowhere. `ratio` is how many items
that follow there are in training for each fact they are made of; none: all that there are. The error is told by the
sort of facts.

Shapes   ids: the entities, the relations, = and pad    T = 4, or 6 with `trace`    chance 1/entities
Source   arXiv 2504.20752    Slug  grokking-wild    Family  reasoning
Differs  tokens in place of sentences; facts that are added are random, not written by a language model
"""

from copy import copy
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.settings import Count, Fraction, Natural, Positive
from blockyard.data.graph import Graph, augmented, drawn_graph, two_hops
from blockyard.task._base import Examples, Predictor, Task, at_least, fits
from blockyard.task._slices import Slicing
from blockyard.task._traced import Traced

MOST, LEAST = 1 << 22, 16  # pairs of relations of all entities; items of an exam


class Split(NamedTuple):
    """A graph and its items (N,3): h, r1, r2, where -1 is none. `composed` facts are those that training composes."""

    graph: Graph
    facts: np.ndarray
    composed: np.ndarray
    trained: np.ndarray
    held: np.ndarray
    apart: np.ndarray


class TwoHop(Traced):
    grows = ()
    first = "ed1aa99e9a32"
    variants = ({}, dict(trace=True, types=2), dict(facts=3, added=4, ratio=3.0, apart=0.2, entities=60))

    def __init__(
        self, *, entities: Annotated[Count, "entities"] = 100, relations: Annotated[Count, "relations"] = 10,
        facts: Annotated[Count, "facts about every entity"] = 4,
        added: Annotated[Natural, "random facts more about every entity"] = 0,
        types: Annotated[Count, "types of entities"] = 1,
        ratio: Annotated[Positive, "items that follow for each fact, in training; none: all"] | None = None,
        held: Annotated[Fraction, "the share of what follows that is held out"] = 0.1,
        apart: Annotated[Fraction, "the share of facts from which training composes nothing"] = 0.05,
        trace: Annotated[bool, "whether what lies between is said"] = False,
        seed: Annotated[Natural, "of the graph"] = 0,
    ) -> None:  # fmt: skip
        at_least(2, entities=entities, relations=relations)
        fits(entities * relations**2 <= MOST, f"two_hop: {entities} entities of {relations} relations are too many")
        self.entities, self.relations, self.facts, self.added, self.types = entities, relations, facts, added, types
        self.ratio, self.held, self.apart, self.trace, self.seed = ratio, held, apart, trace, seed
        self.split = _split(entities, relations, facts, added, types, ratio, held, apart, seed)
        self._items = np.concatenate([self.split.facts, self.split.trained])
        mark = entities + relations
        super().__init__(mark + 2, range(mark + 1 if trace else entities), mark, 3, 3 if trace else 1)

    @property
    def phi(self) -> float:
        """How many items that follow are trained on for each fact that they are made of."""
        return len(self.split.trained) / len(self.split.composed)

    @property
    def scored_on(self) -> Task:
        """The same graph, asked about what is held out and what is apart."""
        asked = copy(self)
        asked._items = np.concatenate([self.split.held, self.split.apart])
        return asked

    def asks(self, seed: int, n: int) -> np.ndarray:
        return self.asked(self._items[Draw(seed, n).below(len(self._items))])

    def everything(self) -> Examples:
        """Every item that is drawn from, once."""
        questions = self.asked(self._items)
        return self._laid(questions, self.replies(questions))

    def asked(self, items: np.ndarray) -> np.ndarray:
        """(n,3) the questions about items."""
        return np.where(items < 0, -1, items + self.entities * (np.arange(3) > 0))

    def replies(self, questions: np.ndarray) -> np.ndarray:
        h, r1, r2 = questions[:, 0], questions[:, 1] - self.entities, questions[:, 2] - self.entities
        between, follows = self.split.graph.tails[h, r1], questions[:, 2] >= 0
        answer = np.where(follows, self.split.graph.tails[between, np.maximum(r2, 0)], between)
        if not self.trace:
            return answer[:, None]
        return np.stack([np.where(follows, between, -1), np.where(follows, self.mark, -1), answer], 1)

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        def sort(examples: np.ndarray) -> np.ndarray:
            items = self.questions_of(examples) - self.entities * (np.arange(3) > 0)
            codes, *known = (_code(each, self.relations) for each in (items, self.split.held, self.split.apart))
            held, apart = (np.isin(codes, each) for each in known)
            return np.where(held, 0, np.where(apart, 1, -1))

        return (Slicing("facts", ("composed", "apart"), lambda asked: sort(asked.tokens)),)

    def baselines(self) -> dict[str, Predictor]:
        return {"by relation": self._by_relation}

    def _by_relation(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) at = the commonest entity that the last relation leads to."""
        tails = self.split.graph.tails
        usual = np.array([np.bincount(each[each >= 0], minlength=1).argmax() for each in tails.T])
        before = np.roll(tokens, 1, 1) - self.entities
        return np.where((before >= 0) & (before < self.relations), usual[before.clip(0, self.relations - 1)], 0)


@lru_cache(8)
def _split(
    entities: int, relations: int, facts: int, added: int, types: int, ratio: float | None, held: float, apart: float,
    seed: int,
) -> Split:  # fmt: skip
    """Who trains on what. What is held out is chosen before facts are added, and does not depend on them."""
    first = drawn_graph(entities, relations, facts, types, seed)
    known = first.facts[:, :2]
    chosen = np.zeros(first.tails.shape, bool)
    chosen[tuple(known[_some(seed, 1, len(known), round(apart * len(known)))].T)] = True
    own, over, _ = _sorted(two_hops(first), chosen)
    asked = own[np.sort(_some(seed, 2, len(own), round(held * len(own))))]
    fits(
        len(asked) + len(over) >= LEAST,
        "two_hop: there is next to nothing to ask about; give more facts, held or apart",
    )
    graph = augmented(first, added, seed + 1)
    more = _sorted(two_hops(graph), chosen)[0]
    free = more[~np.isin(_code(more, relations), _code(asked, relations))]
    every = graph.facts[:, :2]
    composed = every[~chosen[tuple(every.T)]]
    wanted = len(free) if ratio is None else round(ratio * len(composed))
    fits(
        wanted <= len(free),
        f"two_hop: ratio={ratio} needs {wanted} items that follow, and there are {len(free)}; give more facts or added",
    )
    trained = free[np.sort(_some(seed, 4, len(free), wanted))]
    return Split(graph, np.pad(every, ((0, 0), (0, 1)), constant_values=-1), composed, trained, asked, over)


def _code(items: np.ndarray, relations: int) -> np.ndarray:
    """(n,) a number of its own for each item that follows."""
    return (items[:, 0] * relations + items[:, 1]) * relations + items[:, 2]


def _sorted(items: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items (n,3) of no chosen fact, of two, and of one."""
    many = chosen[items[:, 0], items[:, 1]].astype(np.int64) + chosen[items[:, 2], items[:, 3]]
    bare = items[:, [0, 1, 3]]
    return bare[many == 0], bare[many == 2], bare[many == 1]


def _some(seed: int, stream: int, of: int, count: int) -> np.ndarray:
    """So many different numbers below `of`."""
    return np.argsort(Draw(seed, of, stream=16 + stream).raw(1)[:, 0], kind="stable")[:count]
