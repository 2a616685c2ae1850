"""How often the verdicts of equal arms err, and what a true difference needs, on simulated tables.

    python -m tests.acceptance.false_alarms          all tables below (some minutes), or the named ones: grid short
                                                     shapes spreads own planning

The procedure is written a second time here, over many tables at once; `tests/compare/test_false_alarms.py` holds the
two to each other. THE GRID, fixed before the figures were taken; unit: the spread of one arm over seeds.

    grid      arms x seeds   2x3, 2x5, 2x10, 3x4, 4x3, 8x5, all with 32 groups
              text           the arm's own effect of the text, in all: 0, 0.3, 0.5, 1, 3 were the groups independent
              correlation    of neighbouring groups (first-order autoregression): 0, 0.27, 0.5, 0.73
              false alarms   some pair of equal arms resolved: at most 6% in every cell
    spreads   the same without text and with 0.5 at 0.27, where one arm has 2, 4 or 10 times the spread of the others,
              or half of the arms 3 times: at most 6%, n >= 3; and quiet pairs keep their power
    short     16 and 8 groups; with 8 at 0.73 there is little more than one independent piece of text: shown, no promise
    shapes    runs of four groups that share a part, and a long memory, of the same correlation of neighbours: shown
    own       every arm's own interval covers 95%
    unpaired  2, 3, 4 and 8 arms that share no seeds, of 2, 3, 5 and 10 runs each, of 2 to 10, and one of them of other
              counts than the rest; spreads equal, one a tenth, a quarter, 4 or 10 times, half 3 times, 1 to 4 in steps,
              of arms of few and of many runs: at most 6% in every one of 360 cells of 10,000 tables
    shared    arms by seeds where the seeds make up 0, 0.3, 0.6 and 0.9 of a run's variance: paired where seeds tell at
              5%, never, always; the rule at most 6%
    samples   equal arms that answer the same 50 to 1,319 samples right or wrong, 0.01 to 0.3 of them otherwise than
              another arm does: at most 6%
    planning  the detectable difference is found, and the range of seeds holds the true number, four times out of five

1,500 tables a cell (a share of 0.05 is known to 0.006). In brackets the same for spreads pooled over arms with the
pair's own as a floor and groups taken as independent. Power: one arm is better by 3.5 times the true standard error of
its differences; the share of its pairs that are resolved.
"""

import itertools
import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import digamma, fdtrc, polygamma, stdtrit

from blockyard.compare.judge.critical import critical
from blockyard.compare.judge.power import Noise, detectable, seeds_for
from blockyard.compare.judge.spread import Part

TABLES, UNPAIRED, SAMPLED, SEED = 1500, 10_000, 2000, 20261129
SIZES = ((2, 3), (2, 5), (2, 10), (3, 4), (4, 3), (8, 5))
TEXTS, CORRELATIONS = (0.0, 0.3, 0.5, 1.0, 3.0), (0.0, 0.27, 0.5, 0.73)
PARTS = (0.0, 0.3, 0.6, 0.9)
NODES = np.exp(np.linspace(np.log(0.5), np.log(4000), 120))
R = 0.05 * np.arange(20)


def pairs_of(k: int) -> np.ndarray:
    return np.array(list(itertools.combinations(range(k), 2)))


@cache
def _family(k: int, alpha: float) -> np.ndarray:
    return np.log([critical(k, nu, alpha) for nu in NODES])


def points(k: int, alpha: float, nu: np.ndarray) -> np.ndarray:
    """Critical values of a family, read from a fine grid of degrees of freedom."""
    return np.exp(np.interp(np.log(np.clip(nu, 0.5, 4000)), np.log(NODES), _family(k, alpha)))


def neighbours(rng: np.random.Generator, shape: tuple[int, ...], r: float, form: str = "first") -> np.ndarray:
    """Unit normal values whose last axis has correlation r between neighbours, in one of three forms."""
    fresh = rng.standard_normal(shape)
    if form == "blocks":
        part, at = min(r / 0.75, 1.0), (np.arange(shape[-1]) + rng.integers(0, 4, shape[:-1])[..., None]) // 4
        common = np.take_along_axis(rng.standard_normal((*shape[:-1], shape[-1] // 4 + 2)), at, -1)
        return part**0.5 * common + (1 - part) ** 0.5 * fresh
    lag = np.abs(np.subtract.outer(np.arange(shape[-1]), np.arange(shape[-1])))
    cov = r**lag if form == "first" else (1 + lag) ** (np.log(r) / np.log(2) if r else -np.inf)
    return fresh @ np.linalg.cholesky(cov + 0.0).T


def tables(
    rng: np.random.Generator, k: int, n: int, groups: int, text: float, r: float,
    spread: Sequence[float] | None = None, form: str = "first", count: int = TABLES,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Run means (T, k, n) and text effects of the arms (T, k, G) of equal arms."""
    sd = np.ones(k) if spread is None else np.asarray(spread, float)
    effects = text * groups**0.5 * neighbours(rng, (count, k, groups), r, form)
    return sd[:, None] * rng.standard_normal((count, k, n)) + effects.mean(-1)[..., None], effects


def halves(means: np.ndarray, text: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Half widths of all pairs (T, P)."""
    (_, k, n), both = means.shape, pairs_of(means.shape[1])
    f, variance = n - 1.0, means.var(2, ddof=1)
    typical = np.exp(np.log(variance).mean(1, keepdims=True) + np.log(f / 2) - digamma(f / 2))
    drawn = (typical + f * variance) / (1 + f)
    alone = alpha if k == 2 else 0.4 * alpha
    found, effect = [], _text(text, both)
    for family, spreads, freedom in ((True, drawn, f + 1), (False, variance, f)):
        a, b = spreads[:, both[:, 0]] / n, spreads[:, both[:, 1]] / n
        vs, nu = a + b, np.minimum((a + b) ** 2 / (a * a + b * b) * freedom, k * f)
        for vb, nb in ((np.zeros_like(vs), np.ones_like(vs)), effect):
            total = vs + vb
            freed = total**2 / (vs**2 / nu + vb**2 / nb)
            at = points(k, 0.8 * alpha, freed) if family else -stdtrit(freed, alone / 2)
            found.append(at * total**0.5)
    return np.max(found, axis=0)


def _text(text: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Text variances of all pairs and their freedom."""
    (_, k, groups), gaps = text.shape, text[:, both[:, 0]] - text[:, both[:, 1]]
    if not text.any():
        return np.zeros(gaps.shape[:2]), np.ones(gaps.shape[:2])
    centred, steps = text - text.mean(1, keepdims=True), np.arange(groups)
    logs, variances = [], []
    for r in R:
        inverse = np.diag(np.full(groups, 1 + r * r)) - r * (np.eye(groups, k=1) + np.eye(groups, k=-1))
        inverse[0, 0] = inverse[-1, -1] = 1.0
        one = inverse.sum(1)
        project = inverse - np.outer(one, one) / one.sum()
        square = np.einsum("...i,...i->...", centred @ project, centred)
        each = 0.5 * np.log(1 - r * r) - 0.5 * np.log(one.sum()) - 0.5 * (groups - 1) * np.log(square)
        logs.append((k - 1) / k * each.sum(1))
        square = np.einsum("...i,...i->...", gaps @ project, gaps)
        lags = (r ** np.abs(np.subtract.outer(steps, steps))).sum() / groups**2 / (1 - r * r)
        variances.append(np.log(square / (groups - 1) * lags))
    weight = np.exp(np.array(logs) - np.max(logs, axis=0))[:, :, None]
    weight, value = weight / weight.sum(0), np.array(variances)
    middle = (weight * value).sum(0)
    spread = polygamma(1, (groups - 1) / 2) + (weight * (value - middle) ** 2).sum(0)
    fine = np.exp(np.linspace(np.log(0.02), np.log(1e4), 8000))
    nu = np.exp(np.interp(-np.log(spread), -np.log(polygamma(1, fine / 2)), np.log(fine)))
    shift = np.log((groups - 1) / 2) - digamma((groups - 1) / 2) - np.log(nu / 2) + digamma(nu / 2)
    raised = np.where(nu < 5, (stdtrit(nu, 0.025) / stdtrit(5, 0.025)) ** 2, 1.0)
    return np.exp(middle + shift) * raised, np.maximum(nu, 5.0)


def apart(runs: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Half widths of all pairs (T, P) of arms that share no seeds; runs (T, k, most), no number where there is none."""
    n, both = (~np.isnan(runs[0])).sum(1), pairs_of(runs.shape[1])
    k, f, variance = len(n), n - 1.0, np.nanvar(runs, 2, ddof=1)
    typical = np.exp((np.log(variance) + np.log(f / 2) - digamma(f / 2)).mean(1, keepdims=True))
    drawn = (typical + f * variance) / (1 + f)
    floored, freed = np.maximum(drawn, variance), np.where(drawn >= variance, f + 1, f)
    alone, found = alpha if k == 2 else 0.4 * alpha, []
    for family, spreads, freedom in ((True, floored, freed), (False, variance, np.broadcast_to(f, variance.shape))):
        (a, fa), (b, fb) = ((spreads[:, i] / n[i], freedom[:, i]) for i in both.T)
        nu = np.minimum((a + b) ** 2 / (a * a / fa + b * b / fb), f.sum())
        least, most = np.minimum(fa, fb), np.maximum(fa, fb)
        few, many = stdtrit(least * (1 + (least / most) ** 4), 0.025), stdtrit(2 * most, 0.025)
        square = np.where(fa < fb, few**2 * a + many**2 * b, many**2 * a + few**2 * b) / (a + b)
        fine = np.exp(np.linspace(np.log(0.5), np.log(1e5), 9000))
        bound = np.exp(np.interp(-0.5 * np.log(square), -np.log(-stdtrit(fine, 0.025)), np.log(fine)))
        nu = np.where(fa == fb, nu, np.minimum(nu, bound))
        at = points(k, 0.8 * alpha, nu) if family else -stdtrit(nu, alone / 2)
        found.append(at * (a + b) ** 0.5)
    return np.max(found, axis=0)


def paired(runs: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Half widths of all pairs (T, P) of arms that are paired, from the differences of their runs (T, k, n)."""
    (_, k, n), both = runs.shape, pairs_of(runs.shape[1])
    f, variance = n - 1.0, (runs[:, both[:, 0]] - runs[:, both[:, 1]]).var(2, ddof=1)
    typical = np.exp(np.log(variance).mean(1, keepdims=True) + np.log(f / 2) - digamma(f / 2))
    drawn = (typical + f * variance) / (1 + f)
    alone = alpha if k == 2 else 0.4 * alpha
    family = points(k, 0.8 * alpha, np.full_like(variance, min(f + 1, k * f)))
    return np.maximum(family * (drawn / n) ** 0.5, -stdtrit(f, alone / 2) * (variance / n) ** 0.5)


def pooled_halves(means: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Half widths with spreads pooled over arms, the pair's own as a floor, and groups taken as independent."""
    (_, k, n), both = means.shape, pairs_of(means.shape[1])
    rest = means - means.mean(2, keepdims=True)
    nu = (k - 1.0) * (n - 1)
    ms = ((rest - rest.mean(1, keepdims=True)) ** 2).sum((1, 2)) / nu
    vs = np.maximum(2 * ms[:, None], (means[:, both[:, 0]] - means[:, both[:, 1]]).var(2, ddof=1)) / n
    vb = (text[:, both[:, 0]] - text[:, both[:, 1]]).var(2, ddof=1) / text.shape[2]
    freed = (vs + vb) ** 2 / (vs**2 / nu + vb**2 / (text.shape[2] - 1))
    return np.maximum(points(k, 0.05, freed) * (vs + vb) ** 0.5, points(k, 0.05, np.full_like(vs, nu)) * vs**0.5)


def rates(
    rng: np.random.Generator, k: int, n: int, groups: int, text: float, r: float,
    spread: Sequence[float] | None = None, form: str = "first",
) -> tuple[float, float, float, float]:  # fmt: skip
    """False alarms and power of the procedure, then of the pooled one."""
    means, effects = tables(rng, k, n, groups, text, r, spread, form)
    both = pairs_of(k)
    gap = (means[:, both[:, 0]] - means[:, both[:, 1]]).mean(2)
    cov = effects.mean(2).var() if text else 0.0
    step = 3.5 * (2 * (1 / n + cov)) ** 0.5
    last = (both == k - 1).any(1) & (np.ones(k) if spread is None else np.array(spread) == 1)[both].all(1)
    found = []
    for half in (halves(means, effects), pooled_halves(means, effects)):
        found += [(abs(gap) > half).any(1).mean(), (abs(gap + step) > half)[:, last].mean() if last.any() else np.nan]
    return tuple(found)


def _line(name: str, cells: list[tuple[float, float, float, float]]) -> None:
    told = (f"{100 * a:5.1f}/{100 * p:2.0f} ({100 * x:2.0f}/{100 * y:2.0f})" for a, p, x, y in cells)
    print(f"{name:24}" + "  ".join(told), flush=True)


def grid(rng: np.random.Generator) -> list[float]:
    """False alarms % / power % at each correlation; in brackets the pooled procedure."""
    worst = []
    for k, n in SIZES:
        for text in TEXTS:
            cells = [rates(rng, k, n, 32, text, r) for r in (CORRELATIONS if text else (0.0,))]
            worst += [cell[0] for cell in cells]
            _line(f"{k} x {n}, text {text}", cells)
    return worst


def counts(k: int) -> dict[str, list[int]]:
    """How many runs the arms have."""
    found = {f"{n} runs": [n] * k for n in (2, 3, 5, 10)}
    found["2 to 10"] = np.linspace(2, 10, k).round().astype(int).tolist()
    return found | {f"{x}, then {y}": [x] + [y] * (k - 1) for x, y in ((2, 10), (10, 2), (2, 3), (3, 5), (3, 10))}


def ladders(k: int) -> dict[str, np.ndarray]:
    """Spreads of the arms, those of arms with other counts than the rest among them, both ways round."""
    one = {f"first {x:g}x": np.array([x] + [1.0] * (k - 1)) for x in (0.1, 0.25, 4.0, 10.0)}
    half, steps = np.array([3.0] * (k // 2) + [1.0] * (k - k // 2)), np.geomspace(1, 4, k)
    return {"equal": np.ones(k), **one, "half 3x": half, "half 3x, turned": half[::-1],
            "1 to 4": steps, "4 to 1": steps[::-1]}  # fmt: skip


def unpaired(rng: np.random.Generator) -> list[float]:
    """Arms that share no seeds: the largest share of false alarms over all spreads, the power of equal ones."""
    worst = []
    for k in (2, 3, 4, 8):
        for name, n in counts(k).items():
            cells = {said: _unpaired(rng, np.array(n), sd) for said, sd in ladders(k).items()}
            said = max(cells, key=lambda each: cells[each][0])
            worst += [cell[0] for cell in cells.values()]
            (a, p), high = cells["equal"], cells[said][0]
            told = f"equal {100 * a:4.1f}/{100 * p:2.0f}  worst {100 * high:4.1f} ({said})"
            print(f"{k} arms, {name:12} {told}", flush=True)
    return worst


def _unpaired(rng: np.random.Generator, n: np.ndarray, sd: np.ndarray) -> tuple[float, float]:
    runs = sd[:, None] * rng.standard_normal((UNPAIRED, len(n), max(n)))
    runs[:, np.arange(max(n)) >= n[:, None]] = np.nan
    both, means = pairs_of(len(n)), np.nanmean(runs, 2)
    gap, se = means[:, both[:, 0]] - means[:, both[:, 1]], (sd**2 / n)[both].sum(1) ** 0.5
    half = apart(runs)
    return float((abs(gap) > half).any(1).mean()), float((abs(gap + 3.5 * se) > half).mean())


def shared(rng: np.random.Generator) -> list[float]:
    """Arms that share seeds, which explain a part of every run: by the rule, then never paired, then always."""
    worst = []
    for k in (2, 3, 4, 8):
        for n in (3, 4, 5, 10):
            for said, sd in (("equal", np.ones(k)), ("half 3x", ladders(k)["half 3x"])):
                cells = [_shared(rng, n, sd, part) for part in PARTS]
                worst += [cell[0][0] for cell in cells]
                told = ("  ".join(f"{100 * a:4.1f}/{100 * p:2.0f}" for a, p in cell) for cell in cells)
                print(f"{k} x {n}, {said:8} " + "   |   ".join(told), flush=True)
    return worst


def _shared(rng: np.random.Generator, n: int, sd: np.ndarray, part: float) -> list[tuple[float, float]]:
    k, both = len(sd), pairs_of(len(sd))
    common = part**0.5 * rng.standard_normal((UNPAIRED, 1, n))
    runs = sd[:, None] * (common + (1 - part) ** 0.5 * rng.standard_normal((UNPAIRED, k, n)))
    gap = (runs[:, both[:, 0]] - runs[:, both[:, 1]]).mean(2)
    step = 3.5 * ((1 - part) * (sd**2)[both].sum(1) / n) ** 0.5
    rest = runs - runs.mean(2, keepdims=True)
    seeds = rest.mean(1, keepdims=True)
    left = ((rest - seeds) ** 2).sum((1, 2)) / ((k - 1) * (n - 1))
    chance = fdtrc(n - 1, (k - 1) * (n - 1), k * (seeds**2).sum((1, 2)) / (n - 1) / left)
    never, always = halves(runs, np.zeros((UNPAIRED, k, 32))), paired(runs)
    rule = np.where((chance < 0.05)[:, None], always, never)
    return [((abs(gap) > half).any(1).mean(), (abs(gap + step) > half).mean()) for half in (rule, never, always)]


def samples(rng: np.random.Generator) -> list[float]:
    """Arms that answer the same samples, right or wrong: false alarms where two of them differ in so many."""
    worst = []
    for k in (2, 4, 8):
        for n in (50, 100, 300, 1319):
            told = []
            for part in (0.01, 0.03, 0.1, 0.3):
                base = rng.random((SAMPLED, 1, n)) < 0.5
                runs = (base ^ (rng.random((SAMPLED, k, n)) < (1 - (1 - 2 * part) ** 0.5) / 2)).astype(float)
                both = pairs_of(k)
                gap = (runs[:, both[:, 0]] - runs[:, both[:, 1]]).mean(2)
                with np.errstate(divide="ignore", invalid="ignore"):
                    half = paired(runs)
                    told.append(float((abs(gap) > half).any(1).mean()))
            worst += told
            print(f"{k} arms, {n:4} samples  " + "  ".join(f"{100 * a:4.1f}" for a in told), flush=True)
    return worst


def short(rng: np.random.Generator) -> list[float]:
    worst = []
    for groups in (16, 8):
        for k, n in ((2, 5), (4, 3)):
            for text in (0.5, 3.0):
                cells = [rates(rng, k, n, groups, text, r) for r in CORRELATIONS]
                worst += [cell[0] for cell, r in zip(cells, CORRELATIONS) if groups == 16 or r < 0.7]
                _line(f"{groups} groups, {k} x {n}, {text}", cells)
    return worst


def shapes(rng: np.random.Generator) -> list[float]:
    for form in ("blocks", "long"):
        for k, n in ((2, 5), (4, 3)):
            for text in (0.5, 3.0):
                _line(f"{form}, {k} x {n}, {text}", [rates(rng, k, n, 32, text, r, form=form) for r in CORRELATIONS])
    return []


def wide(k: int) -> dict[str, list[float]]:
    """Unequal spreads: the last arm is always a quiet one."""
    one = {f"one arm {x}x": [float(x)] + [1.0] * (k - 1) for x in (2, 4, 10)}
    return one | {"half 3x": [3.0] * (k // 2) + [1.0] * (k - k // 2)}


def spreads(rng: np.random.Generator) -> list[float]:
    worst = []
    for k, n in ((2, 2), (4, 2), *SIZES):
        for name, sd in wide(k).items():
            cells = [rates(rng, k, n, 32, text, r, sd) for text, r in ((0.0, 0.0), (0.5, 0.27))]
            worst += [cell[0] for cell in cells if n > 2]
            _line(f"{k} x {n}, {name}", cells)
    return worst


def own(rng: np.random.Generator) -> list[float]:
    for k, n in SIZES:
        told = []
        for sd in ([1.0] * k, wide(k)["one arm 4x"]):
            means, _ = tables(rng, k, n, 32, 0.0, 0.0, sd)
            half = -stdtrit(n - 1, 0.025) * (means.var(2, ddof=1) / n) ** 0.5
            told.append(f"{100 * (abs(means.mean(2)) < half)[:, 0].mean():.1f}")
        print(f"{k} x {n}: {', '.join(told)}", flush=True)
    return []


def planning(rng: np.random.Generator) -> list[float]:
    """How often the detectable difference is found by a second table; how often the range holds the true number."""
    for k, n in SIZES:
        for text in (0.0, 0.5):
            found, held = promise(rng, k, n, text)
            print(f"{k} x {n}, text {text}: found {found:.1%}, range holds {held:.1%}", flush=True)
    return []


def promise(rng: np.random.Generator, k: int, n: int, text: float, count: int = 200) -> tuple[float, float]:
    both, found, held = pairs_of(k), [], []
    first, second = (tables(rng, k, n, 32, text, 0.0, count=count) for _ in range(2))
    seen, half = first[0].var(2, ddof=1), halves(*second)
    effect = _text(first[1], both)
    gap = (second[0][:, both[:, 0]] - second[0][:, both[:, 1]]).mean(2)
    target = 2.0 + 2 * text
    truth = _true_seeds(rng, k, text, target)
    for i in range(count):
        f = n - 1.0
        drawn = (np.exp(np.log(seen[i]).mean() + np.log(f / 2) - digamma(f / 2)) + f * seen[i]) / (1 + f)
        variance = float(np.median(drawn[both].sum(1)))
        part = Part(float(np.median(effect[0][i])), float(np.median(effect[1][i])))
        noise = Noise(k, k * f, variance, part)
        found.append((abs(gap[i] + detectable(noise, n)) > half[i]).mean())
        needed = seeds_for(target, noise)
        low, high, true = (101 if x is None else x for x in (needed.low, needed.high, truth))
        held.append(low <= true <= high)
    return float(np.mean(found)), float(np.mean(held))


def _true_seeds(rng: np.random.Generator, k: int, text: float, target: float) -> int:
    """The fewest seeds, 3 or more, with which a pair at this distance is resolved in 80% of tables."""
    both = pairs_of(k)
    for n in range(3, 101):
        means, effects = tables(rng, k, n, 32, text, 0.0)
        gap = (means[:, both[:, 0]] - means[:, both[:, 1]]).mean(2)
        if (abs(gap + target) > halves(means, effects)).mean() >= 0.8:
            return n
    return 101


def main() -> None:
    parts = {
        "grid": grid,
        "short": short,
        "shapes": shapes,
        "spreads": spreads,
        "own": own,
        "planning": planning,
        "unpaired": unpaired,
        "shared": shared,
        "samples": samples,
    }
    for name in sys.argv[1:] or parts:
        print(f"\n{name}")
        worst = parts[name](np.random.default_rng(SEED))
        if worst:
            print(f"largest share of false alarms: {max(worst):.1%} of {len(worst)} cells")


if __name__ == "__main__":
    main()
