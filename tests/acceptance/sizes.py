"""How often speed-ups over several sizes miss, and how often a gate is passed by an arm that does not meet it.

    python -m tests.acceptance.sizes        all cells below (about a minute), or the named ones: cover gates bias

Simulated sizes with a known answer, judged by the procedure itself. THE CELLS, fixed before the figures were taken;
unit: the spread of a run over seeds, 1% of its loss.

    cover    2, 3 and 4 arms, 3 and 5 sizes, 3 and 5 seeds; arms need 1, 1.3 or 0.7 times the training. Slopes by curves
             (each run's own, with a spread of 4%) and by tokens (two numbers of them, four times apart). Spreads equal;
             one arm 3 times the others'; the baseline 3 times. All intervals of all arms and sizes at once hold the
             truth in at least 95%; at most 6% miss in any cell
    gates    speedup>1, gap>1% and score<1.9 at 1, 2 and 3 of 3 sizes, 2 and 4 arms, 3 and 5 seeds. The worst case of
             passing: at n - 1 sizes every arm is far better, at the others it stands on the threshold. The worst case
             of failing: at n sizes it stands on the threshold, at the others it is far worse. Any arm errs in at most
             6%, in brackets the most of the two unequal spreads; power: at all sizes ahead of the threshold by 3.5
             standard errors of a difference, the share of arms that pass
    bias     what the formula says of an arm that needs 1 / S of the training, where the loss has a floor: no chance

10,000 tables a cell (a share of 0.05 is known to 0.002). The procedure is written a second time here, over many tables
at once; `tests/compare/test_sizes_cover.py` holds the two to each other.
"""

import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import digamma, stdtrit

from blockyard.compare.judge.critical import critical
from blockyard.compare.judge.speedup import GAP, SLOPE
from blockyard.compare.sizes.documents import Gate
from blockyard.compare.sizes.gate import levels, parse_gate
from tests.acceptance.false_alarms import NODES

TABLES, SEED = 10_000, 20261130
LOSS, SPREAD, BETA, OWN, APART = 2.0, 0.01, 0.12, 0.04, 4.0
ALPHA = 0.05
SPREADS = {"equal": None, "one arm 3x": 1, "baseline 3x": 0}
Ends = tuple[np.ndarray, np.ndarray]  # low and high (tables, arms - 1)


def runs_of(rng: np.random.Generator, means: Sequence[float], seeds: int, noisy: int | None, count: int) -> np.ndarray:
    """Losses (tables, arms, seeds), the baseline first; one arm may have 3 times the spread."""
    wide = np.where(np.arange(len(means)) == noisy, 3.0, 1.0) if noisy is not None else np.ones(len(means))
    drawn = rng.standard_normal((count, len(means), seeds))
    return np.array(means)[:, None] * (1 + SPREAD * wide[:, None] * drawn)


@cache
def _family(k: int, alpha: float) -> np.ndarray:
    return np.log([critical(k, nu, alpha, True) for nu in NODES])


def gaps_of(runs: np.ndarray, level: float) -> Ends:
    """By how much every other arm is better than the baseline: the judge's intervals of k - 1 arms against one."""
    _, k, n = runs.shape
    f, variance = n - 1.0, runs.var(2, ddof=1)
    typical = np.exp(np.log(variance).mean(1, keepdims=True) + np.log(f / 2) - digamma(f / 2))
    drawn, alone, halves = (typical + f * variance) / (1 + f), level if k == 2 else 0.4 * level, []
    for family, spreads, freedom in ((True, drawn, f + 1), (False, variance, f)):
        a, b = spreads[:, :1] / n, spreads[:, 1:] / n
        nu = np.minimum((a + b) ** 2 / (a * a + b * b) * freedom, k * f)
        inside = np.log(np.clip(nu, 0.5, 4000))
        at = np.exp(np.interp(inside, np.log(NODES), _family(k, 0.8 * level))) if family else -stdtrit(nu, alone / 2)
        halves.append(at * (a + b) ** 0.5)
    gap, half = runs[:, :1].mean(2) - runs[:, 1:].mean(2), np.max(halves, axis=0)
    return gap - half, gap + half


def speedups_of(runs: np.ndarray, slope: Ends, level: float) -> Ends:
    """Intervals of the speed-up; an open end is infinite."""
    baseline = runs[:, :1].mean(2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        low, high = (
            np.where(g < baseline, np.log(baseline / (baseline - g)), np.inf) for g in gaps_of(runs, GAP * level)
        )
        steep, flat = slope[1][:, None], np.maximum(slope[0], 0)[:, None]
        return np.exp(np.where(low > 0, low / steep, low / flat)), np.exp(np.where(high > 0, high / flat, high / steep))


def about(value: np.ndarray, variance: np.ndarray, freedom: int, level: float) -> Ends:
    half = -stdtrit(freedom, level / 2) * variance**0.5
    return value - half, value + half


def pooled(rows: Sequence[np.ndarray]) -> np.ndarray:
    """The relative variance over seeds of all rows (tables, arms, seeds)."""
    return np.mean([(row / row.mean(2, keepdims=True)).var(2, ddof=1).mean(1) for row in rows], axis=0)


def slopes_of(rng: np.random.Generator, tables: list[np.ndarray], means: list[list[float]], by: str, noisy: int | None,
              level: float) -> list[Ends]:  # fmt: skip
    """The slope of the baseline's loss at every size, by curves or by tokens."""
    count, arms, n = tables[0].shape
    if by == "tokens":
        before = [runs_of(rng, [mean * APART**BETA for mean in row], n, noisy, count) for row in means]
        spread, freedom = pooled([*tables, *before]), 2 * len(tables) * arms * (n - 1)
        values = [np.log(a[:, 0].mean(1) / b[:, 0].mean(1)) / np.log(APART) for a, b in zip(before, tables)]
        return [about(value, 2 / n / np.log(APART) ** 2 * spread, freedom, level) for value in values]
    own = [BETA * (1 + OWN / SPREAD * (runs_of(rng, [1.0] * arms, n, noisy, count) - 1)) for _ in tables]
    spread, values = pooled(own), [row[:, 0].mean(1) for row in own]
    return [about(value, spread * value**2 / n, len(own) * arms * (n - 1), level) for value in values]


def covered(arms: int, sizes: int, seeds: int, by: str, noisy: int | None, count: int = TABLES) -> tuple[float, float]:
    """The share of tables of which any interval misses, and the median width of an interval of ln S."""
    rng, level = (
        np.random.default_rng([SEED, arms, sizes, seeds, len(by), 9 if noisy is None else noisy]),
        ALPHA / sizes,
    )
    truths = np.array([(1.0, 1.3, 0.7)[a % 3] for a in range(1, arms)])
    means = [[LOSS * 0.9**k * each**-BETA for each in (1.0, *truths)] for k in range(sizes)]
    tables = [runs_of(rng, row, seeds, noisy, count) for row in means]
    slopes = slopes_of(rng, tables, means, by, noisy, SLOPE * level)
    wrong, widths = np.zeros(count, bool), []
    for runs, slope in zip(tables, slopes):
        low, high = speedups_of(runs, slope, level)
        wrong |= ((truths < low) | (high < truths)).any(1)
        with np.errstate(divide="ignore"):
            widths.append(np.log(high / low).ravel())
    return float(wrong.mean()), float(np.median(np.concatenate(widths)))


def scores_of(runs: np.ndarray, level: float) -> Ends:
    """Every arm's own interval."""
    n = runs.shape[2]
    half = -stdtrit(n - 1, level / 2) * runs.std(2, ddof=1) / n**0.5
    return runs.mean(2) - half, runs.mean(2) + half


def intervals(gate: Gate, runs: np.ndarray, level: float) -> Ends:
    """Intervals of what a gate is about; the slope of speed-ups is known, which makes passing likelier."""
    if gate.quantity == "score":
        return scores_of(runs, level)
    if gate.quantity == "speedup":
        return speedups_of(runs, (np.full(len(runs), BETA), np.full(len(runs), BETA)), level)
    low, high = gaps_of(runs, level)
    whole = runs[:, :1].mean(2) if gate.percent else 1.0
    return low / whole, high / whole


def answers(gate: Gate, tables: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which arms (tables, arms) pass, and which fail."""
    sizes, needed = len(tables), gate.needed(len(tables))
    passing, failing = levels(gate, ALPHA, tables[0].shape[1], sizes)
    up = gate.sign.startswith(">")
    yes = [
        (low > gate.value) if up else (high < gate.value) for low, high in (intervals(gate, r, passing) for r in tables)
    ]
    no = [
        (high < gate.value) if up else (low > gate.value) for low, high in (intervals(gate, r, failing) for r in tables)
    ]
    return np.sum(yes, 0) >= needed, np.sum(no, 0) > sizes - needed


def gate_cell(
    text: str, arms: int, sizes: int, seeds: int, case: str, noisy: int | None = None, count: int = TABLES
) -> float:
    """The share of tables in which any arm passes (or, of failing, fails) wrongly; of power, of arms that pass."""
    gate = parse_gate(text)
    needed = gate.needed(sizes)
    rng = np.random.default_rng([SEED, arms, sizes, seeds, needed, len(case), len(text)])
    edge = {"speedup": LOSS, "gap": LOSS * (1 - gate.value), "score": gate.value}[gate.quantity]
    ahead = edge - 3.5 * SPREAD * edge * (2 / seeds) ** 0.5
    far = {"passing": edge * 0.7, "failing": edge * 1.3, "power": ahead}[case]
    sure = {"passing": needed - 1, "failing": sizes - needed, "power": sizes}[case]
    each = [far if k < sure else edge for k in range(sizes)]
    first = each if gate.quantity == "score" else [LOSS] * sizes  # of scores the baseline is an arm as any other
    tables = [runs_of(rng, [a, *[b] * (arms - 1)], seeds, noisy, count) for a, b in zip(first, each)]
    passed, failed = answers(gate, tables)
    if case == "power":
        return float(passed.mean())
    return float((failed if case == "failing" else passed).any(1).mean())


def cover() -> None:
    for arms, sizes, seeds in ((2, 3, 3), (2, 5, 3), (3, 3, 3), (4, 3, 3), (3, 3, 5), (4, 5, 5)):
        for name, noisy in SPREADS.items():
            cells = [covered(arms, sizes, seeds, by, noisy) for by in ("curves", "tokens")]
            said = ", ".join(f"{100 * wrong:.1f}% miss, width {width:.2f}" for wrong, width in cells)
            print(f"{arms} arms, {sizes} sizes, {seeds} seeds, {name}: curves and tokens: {said}", flush=True)


def gates() -> None:
    for arms, seeds in ((2, 3), (4, 3), (2, 5), (4, 5)):
        for text in ("speedup>1", "gap>1%", "score<1.9"):
            for where in ("at 1 size", "at 2 sizes", "at every size"):
                said = []
                for case in ("passing", "failing"):
                    equal, *wide = [
                        gate_cell(f"{text} {where}", arms, 3, seeds, case, noisy) for noisy in SPREADS.values()
                    ]
                    said.append(f"{100 * equal:.1f} ({100 * max(wide):.1f})")
                said.append(f"{100 * gate_cell(f'{text} {where}', arms, 3, seeds, 'power'):.0f}")
                print(
                    f"{arms} arms, {seeds} seeds, {text} {where}: passes, fails, power: {', '.join(said)}", flush=True
                )


def told_of(true: float, floor: float) -> float:
    """What the formula says of an arm with the loss of so many times the training; `floor` is a share of L_b(1)."""
    beta, rest = 0.3, LOSS * (1 - floor)
    baseline, arm = LOSS, LOSS * floor + rest * true**-beta
    return (baseline / arm) ** (1 / (beta * rest / LOSS))


def bias() -> None:
    for floor in (0.0, 0.3, 0.6):
        said = ", ".join(f"{true:g} as {told_of(true, floor):.2f}" for true in (0.5, 0.8, 1.2, 1.5, 2.0, 4.0))
        print(f"floor of {floor:.0%} of the loss: {said}")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("cover", "gates", "bias"):
        {"cover": cover, "gates": gates, "bias": bias}[name]()
