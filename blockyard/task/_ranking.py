"""Prices side by side as a comparison sees them: windows of days, ranks of what comes, and what a buyer gets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import rankdata

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import head, objective, stem
from blockyard.data.rows import Arrays, RowOrder, Rows
from blockyard.data.table import Table
from blockyard.task._material import GROUPS, Ends, Exam, Material, exam
from blockyard.task._metric import Metric

IC = Metric("rank IC", "rank correlation", "higher", -1.0, 1.0)
BEST = 10  # one in so many is bought every day
EPOCHS = 6  # of the days that train, where nobody says how many


@dataclass(frozen=True, eq=False)
class Panel:
    """Prices (N,S) day by day, and what is shown and asked of them.

    shown    (N,S,F) the price of a day and its running means, not a number where one of their days has no price
    comes    (N,S) the return from a day to the next, not a number where it is not known
    """

    shown: np.ndarray
    comes: np.ndarray
    length: int

    @staticmethod
    def of(prices: np.ndarray, length: int, averages: Sequence[int]) -> "Panel":
        """Of prices (N,S); one that is not above 0 is none."""
        prices = np.where(np.isfinite(prices) & (prices > 0), prices, np.nan)
        shown = np.stack([prices, *(_running(prices, days) for days in averages)], 2)
        comes = np.full_like(prices, np.nan)
        comes[:-1] = prices[1:] / prices[:-1] - 1
        return Panel(shown, comes, length)

    def windows(self, days: np.ndarray) -> np.ndarray:
        """(n,S,L,F) float32 what is shown on these days, over the highest price of a window; 0 where one lacks."""
        found = self.shown[days[:, None] + np.arange(1 - self.length, 1)].transpose(0, 2, 1, 3)
        scaled = found / found[..., 0].max(2)[:, :, None, None]
        return np.where(np.isfinite(scaled).all((2, 3), keepdims=True), scaled, 0).astype(np.float32)

    def asked(self) -> np.ndarray:
        """(N,S) where a whole window is shown and it is known what comes."""
        whole = np.zeros(self.comes.shape, bool)
        complete = np.isfinite(self.shown).all(2)
        whole[self.length - 1 :] = sliding_window_view(complete, self.length, axis=0).all(-1)
        return whole & np.isfinite(self.comes)


def _running(prices: np.ndarray, days: int) -> np.ndarray:
    """(N,S) the mean of so many days up to each; not a number where one of them has no price."""
    found = np.full_like(prices, np.nan)
    if len(prices) >= days:
        found[days - 1 :] = sliding_window_view(prices, days, axis=0).mean(-1)
    return found


@dataclass(frozen=True, eq=False)
class Days:
    """Rows that are days: tokens (n,S,L,F) and targets (n,S), returns in units of `scale`."""

    panel: Panel
    days: np.ndarray
    returns: np.ndarray
    scale: float

    def __len__(self) -> int:
        return len(self.days)

    def take(self, index: Any) -> Arrays:
        """The arrays of some of them."""
        days = self.days[index]
        return {"tokens": self.panel.windows(days), "targets": (self.returns[days] / self.scale).astype(np.float32)}


class Ranking(Material):
    """Columns of prices of which those are sought that rise most by the next row."""

    metric = IC
    also = (
        Metric("return", "a day, of the best tenth as said", "higher"),
        Metric("Sharpe", "mean by deviation, a day", "higher"),
        Metric("growth", "of what is put in, without costs", "higher", -1.0),
    )

    def __init__(
        self, table: Table, task: str, panel: Panel, names: Sequence[str], groups: Sequence[str],
        ends: tuple[int, int, int],
    ) -> None:  # fmt: skip
        self.name, self.panel, self.names = table.name, panel, list(names)
        self.hash = hashlib.sha256(f"{table.hash} {task}".encode()).hexdigest()
        asked = panel.asked()
        self.returns = np.where(asked, panel.comes, np.nan)
        can = np.flatnonzero(asked.sum(1) > 1)
        borders = zip((0, *ends[:-1]), ends)  # what comes of a day that trains is known before the next stretch begins
        self.parts = [can[(can >= first) & (can < last - 1)] for first, last in borders]
        self.counts = dict(zip(("train", "tune", "test"), map(len, self.parts)))
        if not all(self.counts.values()):
            lacks = " and ".join(name for name, count in self.counts.items() if not count)
            raise UsageError(
                f"{table.name}: {lacks} have no day with whole windows of two prices; "
                f"give more rows, or ask for less: --task rank:length=L,averages=(A,)"
            )
        self.scale = float(np.nanstd(self.returns[self.parts[0]])) or 1.0
        self.length = self.width = len(names) * panel.length
        self.usual = {"tokens": EPOCHS * len(self.parts[0]) * self.length, "params": 20e3}
        self.sorts = sorted(set(groups))
        told = dict(
            length=panel.length, features=panel.shown.shape[2], series=len(names),
            groups=tuple(self.sorts.index(each) for each in groups),
        )  # fmt: skip
        ends_of = stem("panel"), head("panel_scores"), objective("returns")
        self.ends = Ends("panels", "panel_scores", "returns", *ends_of, settings=told)
        missing = int((~np.isfinite(panel.shown[..., 0])).sum())
        told_missing = f"{table.name}: {missing:,} cells are no price, and no window that needs one is shown"
        self.notes = (told_missing,) if missing else ()

    @property
    def summary(self) -> str:
        sizes = ", ".join(f"{count:,} {name}" for name, count in (self.counts or {}).items())
        return (
            f"{self.name} (sha256 {self.hash[:12]}): {len(self.names)} prices in {len(self.sorts)} groups, ranked by "
            f"the next day from {self.panel.length} days back; days: {sizes}"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: len(self._days(role)) * self.width for role in ("tune", "final")}

    def order(self, length: int, batch: int, seed: int) -> RowOrder:
        return RowOrder(self._days("train"), batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        days = self._days(role)
        return exam(days, self.width, np.ones(len(days)), groups=min(GROUPS, len(days)))

    def _days(self, role: str) -> Days:
        which = self.parts[{"train": 0, "tune": 1, "final": 2}[role]]
        return Days(self.panel, which, self.returns, self.scale)

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        scores = said["panel_scores"].detach().double()
        return scores.new_tensor(self.earned(scores.cpu().numpy(), batch.targets.cpu().numpy()))

    def earned(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(n,4) of every day: the rank correlation, the return of those bought, its square, the log of the growth."""
        returns = targets.astype(np.float64) * self.scale
        asked = np.isfinite(returns)
        order = np.argsort(np.where(asked, -scores, np.inf), 1, kind="stable")
        count = np.maximum(1, asked.sum(1) // BEST)
        bought = np.take_along_axis(np.nan_to_num(returns), order, 1)
        first = np.arange(scores.shape[1]) < count[:, None]
        got = (bought * first).sum(1) / count
        return np.stack([rank_correlations(scores, returns), got, got**2, np.log1p(got)], 1)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        mean = sums[1] / asked
        spread = float(np.sqrt(max(sums[2] / asked - mean**2, 0.0)))
        sharpe = float(mean / spread) if spread else float("nan")
        return {"return": float(mean), "Sharpe": sharpe, "growth": float(np.expm1(sums[3]))}

    def references(self, role: str) -> dict[str, np.ndarray]:
        """What needs no training of ours: that what rose goes on, that it falls back, and a ridge of the window."""
        asked = self.exam(role, self.width)
        arrays = asked.take(slice(None))
        close = arrays["tokens"][..., 0].astype(np.float64)
        last = close[:, :, -1] - close[:, :, -2]
        said = {"momentum": last, "reversal": -last, "ridge": _ridge(self._days("train"), arrays["tokens"])}
        return {name: asked.groups(self.earned(each, arrays["targets"])) for name, each in said.items()}


def _ridge(train: Rows, tokens: np.ndarray, strength: float = 1e-3) -> np.ndarray:
    """(n,S) what one matrix says of every window, fitted to all that train in closed form."""
    known = train.take(slice(None))
    x, y = _flat(known["tokens"]), known["targets"].reshape(-1).astype(np.float64)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    squares = x.T @ x
    weight = np.linalg.solve(squares + strength * np.trace(squares) / len(squares) * np.eye(len(squares)), x.T @ y)
    return (_flat(tokens) @ weight).reshape(tokens.shape[:2])


def _flat(tokens: np.ndarray) -> np.ndarray:
    """(n S, L F + 1) windows less 1, the highest price of each, with a 1 beside them."""
    x = tokens.reshape(-1, tokens.shape[2] * tokens.shape[3]).astype(np.float64) - 1
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def rank_correlations(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) Spearman's correlation of each row, ties sharing their mean rank, where a value is known; 0 where all are
    alike."""
    known = np.isfinite(values)
    ranks = [rankdata(np.where(known, each, np.nan), axis=1, nan_policy="omit") for each in (scores, values)]
    a, b = (np.where(known, each - np.nanmean(each, 1, keepdims=True), 0.0) for each in ranks)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.where(size > 0, (a * b).sum(1) / np.where(size > 0, size, 1), 0.0)
