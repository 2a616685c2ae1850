"""Who reaches whom in directed graphs, how far it is, where to go next, and how far one must look to know it.

    within k     R_k = R_k-1 (I + A), R_0 = I, of truth values        doubled   R <- R R: 2^l steps after l times
    next         successors c of v with d(c, goal) = d(v, goal) - 1
    lookahead    the least depth of a breadth-first search at which the goal appears or all other branches have ended

Where no branch is wrong nothing has to be looked ahead: 0.

Shapes   A (n,V,V) bool, A_ij an edge from i to j    at, goal (n,)
Source   arXiv 2412.04703    Slug  search-struggle
"""

import numpy as np


def within(edges: np.ndarray, steps: int) -> np.ndarray:
    """(n,V,V) who is reached in at most so many steps, one step after another."""
    found = np.broadcast_to(np.eye(edges.shape[-1], dtype=bool), edges.shape)
    stay = edges | found
    for _ in range(steps):
        found = _joined(found, stay)
    return found


def doubled(edges: np.ndarray, times: int) -> np.ndarray:
    """(n,V,V) who is reached in at most 2^times steps: every set is joined with those of its members, so often."""
    found = edges | np.eye(edges.shape[-1], dtype=bool)
    for _ in range(times):
        found = _joined(found, found)
    return found


def distances(edges: np.ndarray) -> np.ndarray:
    """(n,V,V) the steps from one to another; V where there is no way."""
    count = edges.shape[-1]
    found = np.full(edges.shape, count)
    reached = np.broadcast_to(np.eye(count, dtype=bool), edges.shape)
    stay = edges | reached
    for step in range(count):
        found = np.where(reached & (found == count), step, found)
        reached = _joined(reached, stay)
    return found


def next_steps(edges: np.ndarray, at: np.ndarray, goal: np.ndarray, far: np.ndarray | None = None) -> np.ndarray:
    """(n,V) which vertices come next on a shortest way; none where there is no way. `far` are the distances."""
    rows = np.arange(len(edges))
    to_goal = (distances(edges) if far is None else far)[rows, :, goal]
    left = to_goal[rows, at]
    return edges[rows, at] & (to_goal == left[:, None] - 1) & (left < edges.shape[-1])[:, None]


def lookahead(edges: np.ndarray, at: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """(n,) how far must be looked ahead to know where to go."""
    rows, count, far = np.arange(len(edges)), edges.shape[-1], distances(edges)
    wrong = edges[rows, at] & ~next_steps(edges, at, goal, far)
    deepest = np.where(far < count, far, -1).max(2)  # the last vertices of a search from each
    over = np.where(wrong, deepest + 2, 0).max(1)
    return np.minimum(over, far[rows, at, goal])


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of matrices of truth values."""
    return a.astype(np.float32) @ b.astype(np.float32) > 0
