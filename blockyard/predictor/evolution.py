"""Evolution whose next centre is written by whoever reads its past: a rule, or a model of tokens; many runs at once.

    q = round(R (x - low) / (high - low))        x_i = clip(m + sigma (high - low) e_i), i = 1..N        e_i normal
    read: of the last K generations the M best, each as its rank and q_1 .. q_D; then a rank above all of them
    m <- what is written there, D numbers

From the least to the best: generations by their best member, and members inside. Ranks stand for fitness, so nothing
but its order enters. Where more than D numbers are searched they are asked for D at a time, the others left out. Who
writes no numbers of the box is asked again, and after `retries` times the centre of the generation that had the best
member is kept. Nothing is evaluated for that: N evaluations a generation, whatever is written.

Shapes   x (n,G,N,D), f (n,G,N) generations of n runs    rows (n, K M (D + 1) + 1)    ids: 0..R numbers, then ranks
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from blockyard.core.errors import UsageError

Ask = Callable[[np.ndarray, int], Any]  # rows of ids (n,T), the how-manieth time -> rows of ids, of any length


@dataclass(frozen=True)
class Coding:
    """How the past is written in ids.

    dim         numbers of a member in a row, D        resolution   R: the box has R + 1 places in each direction
    shown       generations, K                         kept         members of each, M
    ordered     whether they stand from the least to the best, or as they come
    """

    dim: int
    resolution: int = 100
    shown: int = 2
    kept: int = 3
    ordered: bool = True

    @property
    def members(self) -> int:
        """How many members a row holds."""
        return self.shown * self.kept

    @property
    def length(self) -> int:
        """Ids of a row."""
        return self.members * (self.dim + 1) + 1

    @property
    def vocab(self) -> int:
        """Places, ranks, and the rank above all."""
        return self.resolution + 2 + self.members

    def encode(self, x: np.ndarray, low: float, high: float) -> np.ndarray:
        """The places of numbers; those outside of the box at its edge."""
        return np.rint((np.clip(x, low, high) - low) / (high - low) * self.resolution).astype(np.int64)

    def decode(self, q: np.ndarray, low: float, high: float) -> np.ndarray:
        """The numbers of places, off by (high - low) / 2R at most."""
        return low + q / self.resolution * (high - low)

    def rows(self, q: np.ndarray, f: np.ndarray) -> np.ndarray:
        """(n,T) of the places (n,K,N,D) and the fitness (n,K,N) of generations, the smaller the better."""
        n, f = len(q), np.where(np.isnan(f), np.inf, f)
        level = _levels(f.reshape(n, -1), q.reshape(n, -1, self.dim)).reshape(f.shape)
        member = np.argsort(level, 2, kind="stable")[:, :, : self.kept]
        if self.ordered:
            keys = np.moveaxis(np.take_along_axis(level, member, 2), 2, 0)[::-1]
            at = np.lexsort(keys, axis=1)[:, ::-1, None]  # of two generations with one best member the next one decides
            member = np.take_along_axis(member, at, 1)[:, :, ::-1]
        else:
            at, member = np.arange(self.shown)[None, :, None], np.sort(member, 2)
        flat = (at * f.shape[2] + member).reshape(n, -1)
        order = np.argsort(np.take_along_axis(level.reshape(n, -1), flat, 1), 1, kind="stable")
        rank = self.resolution + self.members - np.argsort(order, 1)
        places = np.take_along_axis(q.reshape(n, -1, self.dim), flat[..., None], 1)
        lines = np.concatenate([rank[..., None], places], 2).reshape(n, -1)
        return np.concatenate([lines, np.full((n, 1), self.resolution + 1 + self.members)], 1)

    def elite_mean(self, rows: np.ndarray, count: int) -> np.ndarray:
        """(n,D) the mean place of the best so many members of a row, whichever order they stand in."""
        lines = rows[:, : self.length - 1].reshape(len(rows), self.members, self.dim + 1)
        best = lines[..., 0] > self.resolution + self.members - count
        total = np.where(best[..., None], lines[..., 1:], 0).sum(1)
        return np.floor(total / count + 0.5).astype(np.int64)

    def read(self, answers: Any, n: int) -> np.ndarray:
        """(n,D) places of what was written for n rows; -1 in rows where these are no D places."""
        found = np.full((n, self.dim), -1)
        for line, answer in zip(found, answers):
            try:
                numbers = [int(each) for each in list(answer)[: self.dim]]
            except (TypeError, ValueError, OverflowError):
                continue
            if len(numbers) == self.dim and all(0 <= each <= self.resolution for each in numbers):
                line[:] = numbers
        return found


class Run(NamedTuple):
    """Members x (n,G,N,D), their fitness f (n,G,N), the centres (n,G,D), and how often no centre was written (n,)."""

    x: np.ndarray
    f: np.ndarray
    centres: np.ndarray
    unwritten: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """(n,G) the least fitness so far."""
        return np.minimum.accumulate(np.nanmin(np.where(np.isnan(self.f), np.inf, self.f), 2), 1)


def evolve(
    ask: Ask, evaluate: Callable[[np.ndarray], np.ndarray], coding: Coding, start: np.ndarray, noise: np.ndarray, *,
    low: float = -5.0, high: float = 5.0, sigma: float = 0.1, decay: float = 1.0, retries: int = 2,
) -> Run:  # fmt: skip
    """n runs of K generations of any members `start` (n,K,N,D), then one for every `noise` (n,G,N,D), all counted.

    ask     what a row is answered: `lambda rows, time: coding.elite_mean(rows, 3)` is the usual strategy
    evaluate   members (n,N,D) -> fitness (n,N)        sigma   of the box, times `decay` after every generation
    """
    n, _, _, dim = start.shape
    if dim % coding.dim or start.shape[1] != coding.shown or start.shape[2] < coding.kept or not high > low:
        raise UsageError(
            f"members {start.shape[1:]} do not fit the coding: {coding.shown} generations of at least {coding.kept} "
            f"members, of a multiple of {coding.dim} numbers, in a box from low to high"
        )
    x = [np.clip(start[:, g], low, high) for g in range(coding.shown)]
    f = [np.asarray(evaluate(each), np.float64) for each in x]
    centres, unwritten = [each.mean(1) for each in x], np.zeros(n, np.int64)
    for g in range(noise.shape[1]):
        f_shown = np.stack(f[-coding.shown :], 1)
        q = coding.encode(np.stack(x[-coding.shown :], 1), low, high)
        held = np.nan_to_num(np.stack(f, 1), nan=np.inf).min(2).argmin(1)
        centre = np.stack(centres, 1)[np.arange(n), held]
        for first in range(0, dim, coding.dim):
            here = slice(first, first + coding.dim)
            said = _written(ask, coding, coding.rows(q[..., here], f_shown), retries)
            good = said[:, 0] >= 0
            centre[good, here] = coding.decode(said[good], low, high)
            unwritten += ~good
        wide = sigma * decay**g * (high - low)
        x.append(np.clip(centre[:, None] + wide * noise[:, g], low, high))
        f.append(np.asarray(evaluate(x[-1]), np.float64))
        centres.append(centre)
    return Run(np.stack(x, 1), np.stack(f, 1), np.stack(centres, 1), unwritten)


def _levels(f: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(n,M) how many different members are better, by fitness (n,M) and then by places (n,M,D)."""
    keys = (*np.moveaxis(q, 2, 0)[::-1], f)
    order = np.lexsort(keys, axis=1)
    drawn = np.stack([np.take_along_axis(key, order, 1) for key in keys])
    new = (drawn[:, :, 1:] != drawn[:, :, :-1]).any(0)
    level = np.zeros(f.shape, np.int64)
    np.put_along_axis(level, order[:, 1:], new.cumsum(1), 1)
    return level


def _written(ask: Ask, coding: Coding, rows: np.ndarray, retries: int) -> np.ndarray:
    """(n,D) the places that are written for rows, asked again where there are none; -1 where that does not help."""
    said = coding.read(ask(rows, 0), len(rows))
    for time in range(1, retries + 1):
        again = np.flatnonzero(said[:, 0] < 0)
        if not len(again):
            break
        said[again] = coding.read(ask(rows[again], time), len(again))
    return said


def hill_climb(
    evaluate: Callable[[np.ndarray], np.ndarray], start: np.ndarray, noise: np.ndarray, *,
    low: float = -5.0, high: float = 5.0, sigma: float = 0.1,
) -> np.ndarray:  # fmt: skip
    """(n,1+E) the least fitness so far of climbers that begin at `start` (n,D) and keep a step where it is better."""
    at = np.clip(start, low, high)
    f = [evaluate(at[:, None])[:, 0]]
    for e in range(noise.shape[1]):
        there = np.clip(at + sigma * (high - low) * noise[:, e], low, high)
        found = evaluate(there[:, None])[:, 0]
        at = np.where((found < f[-1])[:, None], there, at)
        f.append(np.minimum(found, f[-1]))
    return np.stack(f, 1)
