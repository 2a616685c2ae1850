"""Random directed graphs without circles, a vertex to stand at and a goal that it reaches.

    naive       vertex i has one parent with chance 1/2, else 1 to `parents`, among those before it; start and goal any
    balanced    a way of exactly L edges from the fork to the goal, and other branches of L or L + 1 edges from it;
                ancestors in front of the fork; further vertices on either end of edges to those that have many already

L is drawn from 1 to `lookahead`, so that near and far goals are as frequent. Further vertices may open shorter ways:
how far one must look is measured, not taken from L.

Shapes   edges (n,V,V) bool    path (n,W+1): -1 in front, then the way that was gone, the vertex to stand at last
Source   arXiv 2412.04703    Slug  search-struggle
"""

from typing import NamedTuple

import numpy as np

from blockyard.core.draw import Draw
from blockyard.predictor.search import within


class Drawn(NamedTuple):
    """Graphs, the ways gone so far and the goals (n,)."""

    edges: np.ndarray
    path: np.ndarray
    goal: np.ndarray


def naive(draw: Draw, vertices: int, parents: int, walked: int) -> Drawn:
    """Parents among the vertices before."""
    n, rows = draw.rows, np.arange(draw.rows)
    edges = np.zeros((n, vertices, vertices), bool)
    for i in range(1, vertices):
        several = np.where(draw.below(2) == 0, 1, 1 + draw.below(parents))
        chosen = draw.distinct(min(i, parents), i)
        for k in range(chosen.shape[1]):
            edges[rows, chosen[:, k], i] |= k < several
    pairs = within(edges, vertices - 1) & ~np.eye(vertices, dtype=bool)
    best = np.where(pairs, draw.uniform(vertices, vertices), 0.0).reshape(n, -1).argmax(1)
    path = np.full((n, walked + 1), -1)
    path[:, -1] = best // vertices
    return Drawn(edges, path, best % vertices)


def balanced(draw: Draw, vertices: int, parents: int, walked: int, lookahead: int, paths: int) -> Drawn:
    """Forks with further vertices, up to as many as there may be."""
    drawn, used = forks(draw, vertices, walked, lookahead, paths)
    further = (draw.uniform() * (vertices - used + 1)).astype(np.int64)
    return drawn._replace(edges=_attached(draw, drawn.edges, used, further, parents))


def forks(draw: Draw, vertices: int, walked: int, lookahead: int, paths: int) -> tuple[Drawn, np.ndarray]:
    """Forks whose branches are told apart by looking L edges ahead, and how many vertices (n,) each graph has."""
    n, rows = draw.rows, np.arange(draw.rows)
    edges = np.zeros((n, vertices, vertices), bool)
    far, used = 1 + draw.below(lookahead), np.ones(n, np.int64)
    goal = np.zeros_like(used)
    for branch in range(paths):
        long, at = far + (draw.below(2) if branch else 0), np.zeros_like(used)
        for step in range(lookahead + 1):
            more = step < long
            edges[rows[more], at[more], used[more]] = True
            at, used = np.where(more, used, at), used + more
        goal = at if branch == 0 else goal
    path = np.full((n, walked + 1), -1)
    path[:, -1] = 0
    front = np.minimum(draw.below(walked + 1), vertices - used)
    for step in range(walked):
        more = step < front
        edges[rows[more], used[more], path[more, walked - step]] = True
        path[more, walked - step - 1] = used[more]
        used = used + more
    return Drawn(edges, path, goal), used


def _attached(draw: Draw, edges: np.ndarray, used: np.ndarray, further: np.ndarray, parents: int) -> np.ndarray:
    """The graphs with further vertices: edges to or from 1 to `parents` others, the likelier the more these have."""
    rows, place = np.arange(len(edges)), np.arange(edges.shape[1])
    reach = within(edges, edges.shape[1] - 1)
    for step in range(len(place) - 3):  # a fork of two branches has three vertices; as many draws whatever is drawn
        several = 1 + draw.below(parents)
        for k in range(parents):
            own = used
            weight = np.where(place < own[:, None], 0.5 + edges.sum(1) + edges.sum(2), 0.0).cumsum(1)
            other = (weight <= draw.uniform(1) * weight[:, -1:]).sum(1)
            turned = draw.below(2) == 0
            open_ = (step < further) & (k < several)
            a, b = np.where(turned, other, own % len(place)), np.where(turned, own % len(place), other)
            open_ &= ~reach[rows, b, a]  # no circles
            edges[rows[open_], a[open_], b[open_]] = True
            new = reach[rows, :, a][:, :, None] & reach[rows, b][:, None]
            reach |= new & open_[:, None, None]
        used = used + (step < further)
    return edges
