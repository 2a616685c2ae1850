"""How losses fall with size and with data at once, and fits over finished comparisons.

    L(N, D) = E + A N^-alpha + B D^-beta        E, A, B >= 0; alpha and beta profiled

Source   arXiv 2203.15556 (the form)

Least squares over the mean losses of all (size, tokens), weighed by their seeds; intervals by the parametric
bootstrap of `blockyard.compare.judge.scaling`, with the same caveat: nominal 95% intervals cover about 90%.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.judge.scaling import EXPONENTS, FAR, Prediction, Scaling, fit_scaling, middle
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document
from blockyard.model.find import FORMAT

TERMS = ("floor", "by_size", "by_tokens", "size_exponent", "tokens_exponent")
GRID, ZOOM, ZOOMS = 24, 7, 7


@dataclass(frozen=True)
class Surface:
    """E, A, B, alpha, beta by the names of TERMS; `draws` holds a row of them per bootstrap draw."""

    floor: float
    by_size: float
    by_tokens: float
    size_exponent: float
    tokens_exponent: float
    largest: tuple[float, float]
    draws: np.ndarray = field(repr=False, compare=False)

    def interval(self, name: str) -> tuple[float, float]:
        """95% interval of one of TERMS."""
        return middle(self.draws[:, TERMS.index(name)])

    def predict(self, size: float, tokens: float) -> Prediction:
        """The loss at a size and so many tokens, with its 95% interval."""
        E, A, B, alpha, beta = self.draws.T
        many = E + A * size**-alpha + B * tokens**-beta
        loss = self.floor + self.by_size * size**-self.size_exponent + self.by_tokens * tokens**-self.tokens_exponent
        far = size > FAR * self.largest[0] or tokens > FAR * self.largest[1]
        return Prediction(float(size), loss, *middle(many), far)


def fit_surface(
    sizes: Sequence[float], tokens: Sequence[float], losses: Sequence[Sequence[float]], *, draws: int = 300,
    seed: int = 0,
) -> Surface:  # fmt: skip
    """The surface through runs at (size, tokens), a row of seeds each: 4 of either and 3 seeds are the least."""
    if len(set(sizes)) < 4 or len(set(tokens)) < 4:
        raise UsageError("a fit over sizes and tokens needs 4 or more distinct values of each")
    if not len(sizes) == len(tokens) == len(losses) or min(len(row) for row in losses) < 3:
        raise UsageError("a fit needs a size, a number of tokens and 3 or more seeds for every row of losses")
    places = sorted(range(len(sizes)), key=lambda i: (sizes[i], tokens[i]))
    N, D = (np.array([values[i] for i in places], np.float64) for values in (sizes, tokens))
    rows = [np.asarray(losses[i], np.float64) for i in places]
    if not all(np.isfinite(row).all() for row in rows) or min(N.min(), D.min()) <= 0:
        raise UsageError("a fit needs sizes and tokens above 0 and finite losses")
    seeds, means = np.array([len(row) for row in rows]), np.array([row.mean() for row in rows])
    spread = math.sqrt(sum(float(row.var()) * len(row) for row in rows) / (seeds.sum() - len(rows)))
    best = _fit(N, D, means[None], seeds)[0]
    fitted = best[0] + best[1] * N ** -best[3] + best[2] * D ** -best[4]
    noise = np.random.default_rng(seed).standard_normal((draws, len(N))) * spread / np.sqrt(seeds)
    again = _fit(N, D, fitted + noise, seeds)
    floor, by_size, by_tokens, alpha, beta = map(float, best)
    return Surface(floor, by_size, by_tokens, alpha, beta, (float(N.max()), float(D.max())), again)


def _fit(N: np.ndarray, D: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """TERMS for every row of y: a grid of both exponents, then smaller and smaller ones around each row's best."""
    centres = [math.exp(float(np.log(values).mean())) for values in (N, D)]
    x, z, w = np.log(N / centres[0]), np.log(D / centres[1]), weights / weights.sum()
    grid = np.log(np.geomspace(*EXPONENTS, GRID))
    middle_of, wide = np.zeros((len(y), 2)), (grid[-1] - grid[0]) / 2
    middle_of += (grid[0] + grid[-1]) / 2
    steps, terms = GRID, np.empty((len(y), 3))
    for _ in range(ZOOMS + 1):
        offsets = np.linspace(-wide, wide, steps)
        tried = np.clip(middle_of[:, :, None] + offsets, grid[0], grid[-1])  # (rows, 2, steps)
        found = [_planes(x, z, w, y[i], np.exp(tried[i, 0]), np.exp(tried[i, 1])) for i in range(len(y))]
        for i, (residual, plane) in enumerate(found):
            a, b = np.unravel_index(residual.argmin(), residual.shape)
            middle_of[i], terms[i] = (tried[i, 0, a], tried[i, 1, b]), plane[a, b]
        wide, steps = 2 * wide / (steps - 1), ZOOM
    alpha, beta = np.exp(middle_of).T
    back = np.stack([np.ones(len(y)), centres[0] ** alpha, centres[1] ** beta], 1)
    return np.concatenate([terms * back, alpha[:, None], beta[:, None]], 1)


def _planes(
    x: np.ndarray, z: np.ndarray, w: np.ndarray, y: np.ndarray, alphas: np.ndarray, betas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For every pair of exponents the residual square sum and (E, A, B), none of them below zero."""
    n = len(x)
    by_size = np.broadcast_to(np.exp(-alphas[:, None] * x)[:, None], (len(alphas), len(betas), n))
    by_tokens = np.broadcast_to(np.exp(-betas[:, None] * z)[None], (len(alphas), len(betas), n))
    columns = np.stack([np.ones_like(by_size), by_size, by_tokens], -1) * np.sqrt(w)[:, None]
    goal = y * np.sqrt(w)
    best = np.full(columns.shape[:2], np.inf)
    terms = np.zeros((*columns.shape[:2], 3))
    for count in (3, 2, 1):
        for kept in combinations(range(3), count):
            some = columns[..., kept]
            square = np.swapaxes(some, -1, -2) @ some + 1e-12 * np.eye(count)
            found = np.linalg.solve(square, np.swapaxes(some, -1, -2) @ goal[:, None])[..., 0]
            residual = np.square((some @ found[..., None])[..., 0] - goal).sum(-1)
            better = (found >= 0).all(-1) & (residual < best)
            best = np.where(better, residual, best)
            whole = np.zeros_like(terms)
            whole[..., kept] = found
            terms = np.where(better[..., None], whole, terms)
    return best, terms


def scaling(results: Sequence[Report | str | Path]) -> dict[str, Scaling | Surface]:
    """A fit for every arm that stands in all of these comparisons: over sizes, and over tokens where they differ too.

    results   folders of comparisons, or of several sizes, or reports; the scores must be of the same metric
              on the same data
    """
    found = [_read(each) for result in results for each in _sizes(result)]
    if not found:
        raise UsageError("a scaling fit needs finished comparisons at several sizes")
    if len({(report.metric.name, report.plan.data.hash) for report in found}) > 1:
        raise UsageError("these comparisons differ in their data or their metric: one fit cannot hold them")
    if found[0].metric.sign < 0:
        raise UsageError(f"a scaling fit is of what falls with size; {found[0].metric.unit} rises")
    fits: dict[str, Scaling | Surface] = {}
    for name in [arm.name for arm in found[0].arms]:
        arms = [arm for report in found for arm in report.arms if arm.name == name]
        if len(arms) < len(found):
            continue
        sizes, tokens, losses = [arm.params for arm in arms], [arm.tokens for arm in arms], _losses(name, arms)
        fits[name] = fit_scaling(sizes, losses) if len(set(tokens)) == 1 else fit_surface(sizes, tokens, losses)
    return fits


def _losses(name: str, arms: Sequence[ArmReport]) -> list[list[float]]:
    """By comparison and seed; every run must have finished."""
    if any(arm.failed for arm in arms):
        raise UsageError(f"a run of {name} failed; a scaling fit needs all of them")
    return [[loss for loss in arm.score.per_seed if loss is not None] for arm in arms]


def _sizes(result: Report | str | Path) -> Sequence[Report | str | Path]:
    """The comparisons of a folder: its own, or that of every size."""
    if isinstance(result, Report) or not (Path(result) / "sizes.json").exists():
        return [result]
    return sorted(each.parent for each in Path(result).glob("*/plan.json"))


def _read(result: Report | str | Path) -> Report:
    if isinstance(result, Report):
        return result
    path = Path(result) / "result.json"
    if not path.exists():
        raise UsageError(f"{result} holds no finished comparison: result.json is missing")
    return Report.from_json(read_document(path, FORMAT, sealed_since=2), path)
