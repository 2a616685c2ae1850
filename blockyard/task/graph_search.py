"""Where to go next on a shortest way through a directed graph that is given edge by edge.

    > a b > c d > b d ? a d : a          asked at the last place: a vertex that is next on a shortest way to the goal

Edges stand in any order behind a sign each, then the start and the goal, then the way gone so far. Every such vertex is
right; training is told one of them at random. How far one must look ahead decides how hard a row is: the least depth of
a breadth-first search at which the goal appears or all other branches have ended. `naive` graphs mostly ask little of
that, `balanced` ones near and far goals as often; with `scored` exams are of the other sort. The error is told by it.

Shapes   ids: names, then > ? : and pad, which stands in front    T = 3 parents vertices + 5 + walked    chance 1/names
Source   arXiv 2412.04703    Slug  search-struggle    Family  reasoning
Differs  one vertex is asked, never the whole way; no chains that search depth first
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from blockyard.core.settings import Count, Natural, Word
from blockyard.predictor.search import lookahead, next_steps
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, blank, fits
from blockyard.task._dags import Drawn, balanced, naive
from blockyard.task._exhibit import Exhibit
from blockyard.task._metric import Metric
from blockyard.task._slices import Slicing, figures

SORTS = ("balanced", "naive")


class GraphSearch(Task):
    grows = ()
    first = "ce07426e1aaa"
    variants = ({}, dict(graphs="naive"), dict(vertices=12, lookahead=2, paths=3, walked=2, names=14))

    def __init__(
        self, *, vertices: Annotated[Count, "vertices of a graph at most"] = 10,
        lookahead: Annotated[Count, "how far must be looked ahead at most, where nothing else is added"] = 3,
        paths: Annotated[Count, "branches of a fork, the right one among them"] = 2,
        parents: Annotated[Count, "edges that a vertex comes with at most"] = 2,
        walked: Annotated[Natural, "vertices gone through before at most"] = 0,
        names: Annotated[Count, "names that vertices may have; none: as many as there are"] | None = None,
        graphs: Annotated[Word, "balanced or naive"] = "balanced",
        scored: Annotated[Word, "the sort that exams are of; none: the same"] | None = None,
    ) -> None:  # fmt: skip
        at_least(2, vertices=vertices, paths=paths)
        for sort in (graphs, scored or graphs):
            fits(sort in SORTS, f"graph_search: {sort} must be one of {', '.join(SORTS)}")
        least = 1 + lookahead + (paths - 1) * (lookahead + 1)
        fits(least <= vertices <= 64, f"graph_search: {paths} branches of {lookahead} need {least} to 64 vertices")
        fits((names or vertices) >= vertices, f"graph_search: names={names} are too few for {vertices} vertices")
        self.vertices, self.lookahead, self.paths, self.parents, self.walked = (
            vertices,
            lookahead,
            paths,
            parents,
            walked,
        )
        self.names, self.graphs, self.scored = names, graphs, scored
        self._names = names or vertices
        self.edge, self.query, self.way, self.pad = (self._names + i for i in range(4))
        self.vocab, self.answers = self._names + 4, range(self._names)
        self.length = 3 * parents * vertices + 5 + walked

    @property
    def scored_on(self) -> Task:
        return self if self.scored in (None, self.graphs) else self.but(graphs=self.scored, scored=None)

    def drawn(self, draw: Draw) -> Drawn:
        """Graphs with vertices 0 to V-1, not named yet."""
        if self.graphs == "naive":
            return naive(draw, self.vertices, self.parents, self.walked)
        return balanced(draw, self.vertices, self.parents, self.walked, self.lookahead, self.paths)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        tokens = self.written(self.drawn(draw), draw)
        right, targets = self.right(tokens), blank(tokens)
        targets[:, -1] = np.where(right, draw.uniform(self._names), 0.0).argmax(1)
        return Examples(tokens, targets)

    def written(self, drawn: Drawn, draw: Draw) -> np.ndarray:
        """(n,T) the rows of graphs: vertices named and edges shuffled at random."""
        n, names = len(drawn.goal), draw.distinct(self.vertices, self._names)
        path = np.where(drawn.path < 0, -1, np.take_along_axis(names, drawn.path.clip(0), 1))
        most = self.parents * self.vertices
        keys = np.where(drawn.edges.reshape(n, -1), draw.uniform(self.vertices**2), 2.0)
        order = np.argsort(keys, axis=1, kind="stable")[:, :most]
        there = np.take_along_axis(keys, order, 1) < 2
        ends = [np.take_along_axis(names, at, 1) for at in (order // self.vertices, order % self.vertices)]
        edges = np.stack([np.where(there, each, -1) for each in (np.full_like(order, self.edge), *ends)], 2)
        start = np.take_along_axis(path, (path >= 0).argmax(1)[:, None], 1)
        goal = np.take_along_axis(names, drawn.goal[:, None], 1)
        signs = [np.full((n, 1), sign) for sign in (self.query, self.way)]
        whole = np.concatenate([edges.reshape(n, -1), signs[0], start, goal, signs[1], path], 1)
        front = np.take_along_axis(whole, np.argsort(whole >= 0, axis=1, kind="stable"), 1)
        return np.where(front < 0, self.pad, front)

    def read(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The edges (n,N,N) of rows, by name, the vertex to stand at and the goal (n,)."""
        rows, places = np.nonzero(tokens == self.edge)
        wide = np.pad(tokens, ((0, 0), (0, 2)), constant_values=-1)
        edges = np.zeros((len(tokens), self._names, self._names), bool)
        edges[rows, wide[rows, places + 1], wide[rows, places + 2]] = True
        goal = wide[np.arange(len(tokens)), (tokens == self.query).argmax(1) + 2]
        at, goal = (np.where(each < self._names, each, 0) for each in (tokens[:, -1], goal))
        return edges, at, goal

    def right(self, tokens: np.ndarray) -> np.ndarray:
        """(n,N) the right answers of rows."""
        return next_steps(*self.read(tokens))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        found, whole = np.zeros_like(tokens), tokens[:, -1] >= 0  # of rows that break off nothing is asked
        found[whole, -1] = self.right(tokens[whole]).argmax(1)
        return found

    @property
    def slicings(self) -> tuple[Slicing, ...]:
        """By how far must be looked ahead."""
        pieces = (*map(str, range(self.lookahead + 1)), f"{self.lookahead + 1} or more")
        return (Slicing("lookahead", pieces, lambda asked: self.measured(asked.tokens).clip(0, self.lookahead + 1)),)

    def measured(self, tokens: np.ndarray) -> np.ndarray:
        """(n,) how far must be looked ahead in each row."""
        return lookahead(*self.read(tokens))

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,K) whether an answer is none of the right ones; then what each slicing makes of it."""
        ids = np.asarray(said["ids"] if "ids" in said else said["logits"].argmax(-1)).astype(np.int64)
        right = np.pad(self.right(examples.tokens), ((0, 0), (0, self.vocab - self._names)))
        wrong = np.zeros(examples.targets.shape, bool)
        wrong[:, -1] = ~np.take_along_axis(right, ids[:, -1:], 1)[:, 0]
        return np.concatenate([wrong[:, -1:], *(each.amounts(wrong, examples) for each in self.slicings)], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        return tuple(metric for each in self.slicings for metric in each.metrics)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return figures(self.slicings, sums[1:])

    def exhibits(self, said: Mapping[str, np.ndarray], examples: Examples) -> list[Exhibit]:
        return [self.slicings[0].exhibit(self.priced(said, examples).sum(0)[1:])]

    def baselines(self) -> dict[str, Predictor]:
        return {"any edge": self._any_edge}

    def _any_edge(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) at the last place the first vertex that an edge leads to from there."""
        edges, at, _ = self.read(tokens)
        found = np.zeros_like(tokens)
        found[:, -1] = edges[np.arange(len(tokens)), at].argmax(1)
        return found
