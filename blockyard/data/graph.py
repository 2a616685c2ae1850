"""Graphs of facts, what follows from two of them, and more facts, true to the types of entities.

    fact       (h, r) -> t        one t for every h and r: whatever is added changes no answer that there was
    follows    (h, r1, r2) -> t   where (h, r1) -> b and (b, r2) -> t
    types      entity v is of type v mod K; a relation goes from entities of one type to entities of one type

With b facts an entity there are about b^2 items that follow from two for b that do not: more facts raise the ratio.

Shapes   tails (V,R): t, or -1 where there is no fact
Source   arXiv 2504.20752    Slug  grokking-wild
"""

from typing import NamedTuple

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError


class Graph(NamedTuple):
    """Facts, and the types (R,) of the entities that each relation leads from and to."""

    tails: np.ndarray
    types: int
    source: np.ndarray
    target: np.ndarray

    @property
    def facts(self) -> np.ndarray:
        """(N,3) all facts h, r, t, in order."""
        h, r = np.nonzero(self.tails >= 0)
        return np.stack([h, r, self.tails[h, r]], 1)


def drawn_graph(entities: int, relations: int, facts: int, types: int, seed: int) -> Graph:
    """So many facts about every entity, of relations that its type has."""
    names = np.arange(relations)
    empty = Graph(np.full((entities, relations), -1), types, names % types, names // types % types)
    return augmented(empty, facts, seed)


def augmented(graph: Graph, facts: int, seed: int) -> Graph:
    """The graph with so many random facts more about every entity, true to types; no fact of it is another now."""
    entities, relations = graph.tails.shape
    draw = Draw(seed, entities, stream=3)
    kinds = np.arange(entities) % graph.types
    free = (graph.tails < 0) & (graph.source == kinds[:, None])
    if free.sum(1).min() < facts:
        raise UsageError(f"an entity has {free.sum(1).min()} relations left, too few for {facts} facts; add relations")
    order = np.argsort(np.where(free, draw.uniform(relations), 2.0), axis=1, kind="stable")[:, :facts]
    many = (entities - graph.target + graph.types - 1) // graph.types  # entities of the type that a relation leads to
    wish = graph.target + graph.types * draw.below(many, relations)
    tails = graph.tails.copy()
    np.put_along_axis(tails, order, np.take_along_axis(wish, order, 1), 1)
    return graph._replace(tails=tails)


def two_hops(graph: Graph) -> np.ndarray:
    """(N,5) all that follows from two facts: h, r1, b, r2, t, in order."""
    h, r1, b = graph.facts.T
    first, r2 = np.nonzero(graph.tails[b] >= 0)
    return np.stack([h[first], r1[first], b[first], r2, graph.tails[b[first], r2]], 1)
