"""How often a referee of many tries errs, what it finds and what that costs, on simulated tries.

    python -m tests.acceptance.referee     all tables below (some minutes), or the named ones: rules bases null power

A run is a number of spread 1. A try compares runs of the change with those of the baseline, seed by seed, by the looks
and the rule to discard of `blockyard/referee/evidence.py`, at the levels of a rule for many tries. THE TABLES, unit of
an effect: the stated one, which is `delta` spreads of a difference; most seeds by `blockyard/referee/sight.py`.

    rules   eight ways to share 5%: of the anytime e-value alpha spending and e-LOND (arXiv 2311.06412), of its inverse
            LORD++ (1710.00499) and SAFFRON (1802.09098); of the chance at the looks alpha spending, LOND (1502.06197),
            LORD++ and SAFFRON. 200 tries of no effect: the share of worlds in which any is kept; 40 tries with 4
            planted: how many of the planted are kept
    bases   the runs of the baseline: `shared` for ever, those of a kept change become the baseline's; `reign`: shared
            by tries against one baseline, a kept change runs again on new seeds; `fresh`: new ones for every try
    null    200 tries of no effect or of harm: noise of one size, of sizes that differ, heavy tails, skewed both ways;
            `sly` sees every answer, then tries quiet changes while the baseline looks unlucky and loud ones while not
    power   1 to 10 planted gains of 1, 1.5 and 2 times the stated size among 40 to 200 tries, the others equal or worse

Fixed before the figures: any false keep in at most 5% of the worlds of every null row, at least 70% of the planted
gains of the stated size kept with 4 among 40.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import stdtr

from blockyard.referee.evidence import FEWEST, MISS, log_mixture, looks
from blockyard.referee.levels import share
from blockyard.referee.sight import most_seeds

WORLDS, SEED, ALPHA = 4000, 20261130, 0.05
GRID = np.linspace(-1, 1, 501)
G = np.array([0.0, *(share(t) for t in range(1, 401))])


class Spending:
    """alpha g_t; with `grows` times one more than what was kept: LOND of chances, e-LOND of e-values."""

    def __init__(self, worlds: int, grows: bool) -> None:
        self.grows, self.kept, self.t = grows, np.zeros(worlds), 0

    def level(self) -> np.ndarray:
        self.t += 1
        return ALPHA * G[self.t] * (1 + self.grows * self.kept)

    def told(self, kept: np.ndarray, chance: np.ndarray) -> None:
        self.kept = self.kept + kept


class Lord:
    """LORD++: every keep earns a level of its own, which falls from then on. With `bar` SAFFRON: tries whose chance
    lies below it cost nothing."""

    def __init__(self, worlds: int, bar: float = 0.0) -> None:
        self.bar, self.t = bar, 0
        self.kept, self.free = np.zeros((worlds, 0)), np.zeros((worlds, 0))

    def level(self) -> np.ndarray:
        self.t += 1
        free = self.free.sum(1)
        found = ALPHA / 2 * G[(self.t - free).astype(int)]
        if self.t > 1:
            behind = free[:, None] - np.cumsum(self.free, 1)
            lag = np.maximum(self.t - np.arange(1, self.t) - behind, 1).astype(int)
            first = (np.cumsum(self.kept, 1) == 1) & (self.kept > 0)
            found = found + (G[lag] * (ALPHA * self.kept - ALPHA / 2 * first)).sum(1)
        return np.minimum(self.bar, (1 - self.bar) * found) if self.bar else found

    def told(self, kept: np.ndarray, chance: np.ndarray) -> None:
        self.kept = np.c_[self.kept, kept]
        self.free = np.c_[self.free, (chance <= self.bar) if self.bar else np.zeros(len(kept))]


RULES: dict[str, tuple[str, Callable[[int], Spending | Lord]]] = {
    "e-values, spending": ("e", lambda worlds: Spending(worlds, False)),
    "e-values, e-LOND": ("e", lambda worlds: Spending(worlds, True)),
    "e-values, LORD++": ("e", Lord),
    "e-values, SAFFRON": ("e", lambda worlds: Lord(worlds, 0.5)),
    "looks, spending": ("t", lambda worlds: Spending(worlds, False)),
    "looks, LOND": ("t", lambda worlds: Spending(worlds, True)),
    "looks, LORD++": ("t", Lord),
    "looks, SAFFRON": ("t", lambda worlds: Lord(worlds, 0.5)),
}
CHOSEN = "looks, LOND"


def noise(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Noise of mean 0 and spread 1."""
    if kind == "heavy":
        return rng.standard_t(3, shape) / 3**0.5
    if kind == "spikes":  # one run in ten has five times the spread
        return np.where(rng.random(shape) < 0.1, 5, 1) * rng.standard_normal(shape) / 3.4**0.5
    if kind in ("skewed up", "skewed down"):
        return (rng.exponential(1, shape) - 1) * (1 if kind == "skewed up" else -1)
    return rng.standard_normal(shape)


@dataclass(frozen=True)
class Game:
    """How tries are made: `delta` the stated effect in spreads of a difference, `base` whose runs a baseline has."""

    rule: str = CHOSEN
    base: str = "reign"
    delta: float = 1.5
    kind: str = "normal"
    sly: bool = False


@dataclass(frozen=True)
class Outcome:
    """(W, tries) what was kept and discarded, the seeds of every try; (W,) the runs of baselines."""

    kept: np.ndarray
    discarded: np.ndarray
    seeds: np.ndarray
    bases: np.ndarray


@cache
def _table(n: int, delta: float) -> np.ndarray:
    return log_mixture(n, GRID, delta)


def _log_e(x: np.ndarray, delta: float) -> np.ndarray:
    """log E of rows of differences."""
    n = x.shape[1]
    return np.interp(x.sum(1) / np.sqrt((x * x).sum(1) * n), GRID, _table(n, delta))


def trial(x: np.ndarray, level: np.ndarray, game: Game) -> tuple[np.ndarray, ...]:
    """Every row of differences as a try: kept, discarded, seeds, and the chance that it stopped with."""
    worlds, most = x.shape
    at, effect, way = looks(most), game.delta * 2**0.5, RULES[game.rule][0]
    kept, gone, seeds, chance = np.zeros(worlds, bool), np.zeros(worlds, bool), np.full(worlds, most), np.ones(worlds)
    live = np.arange(worlds)
    for n in range(FEWEST, most + 1):
        own = x[live, :n]
        now = chance[live]
        if way == "e":
            now = np.minimum(now, np.exp(-_log_e(own, game.delta)))
        elif n in at:
            now = np.minimum(now, stdtr(n - 1, -(n**0.5) * own.mean(1) / own.std(1, ddof=1)) / at[n])
        chance[live] = now
        yes = now <= level[live]
        no = ~yes & (_log_e(effect - own, game.delta) >= -math.log(MISS))
        kept[live[yes]], gone[live[no]], seeds[live[yes | no]] = True, True, n
        live = live[~(yes | no)]
        if not len(live):
            break
    return kept, gone, seeds, chance


def play(rng: np.random.Generator, effects: np.ndarray, game: Game, spreads: np.ndarray | None = None) -> Outcome:
    """Tries of these effects (W, tries), in stated ones, one after another."""
    worlds, tries = effects.shape
    most, rule = most_seeds(game.delta, ALPHA), RULES[game.rule][1](worlds)
    loud = np.ones((worlds, tries)) if spreads is None else spreads
    base, size = noise(rng, (worlds, most), game.kind), np.ones((worlds, 1))
    runs, known, before = np.zeros(worlds), np.zeros(worlds), np.zeros(worlds)
    found = []
    for j in range(tries):
        if game.base == "fresh":
            base, known = size * noise(rng, (worlds, most), game.kind), np.zeros(worlds)
        mine = np.where(before > 0, 0.2, 3.0)[:, None] if game.sly else loud[:, j, None]
        own = mine * noise(rng, (worlds, most), game.kind)
        x = effects[:, j, None] * game.delta * 2**0.5 + base - own
        kept, gone, seeds, chance = trial(x, rule.level(), game)
        rule.told(kept, chance)
        runs, known = runs + np.maximum(seeds - known, 0), np.maximum(known, seeds)
        if game.sly:
            before = np.where(np.arange(most) < seeds[:, None], x, 0).sum(1)
        new = mine * noise(rng, (worlds, most), game.kind) if game.base == "reign" else own
        base, size = np.where(kept[:, None], new, base), np.where(kept[:, None], mine, size)
        known = np.where(kept, 0 if game.base == "reign" else seeds, known)
        found.append((kept, gone, seeds))
    return Outcome(*(np.stack(each, 1) for each in zip(*found)), runs)


def planted(rng: np.random.Generator, worlds: int, tries: int, gains: int, size: float = 1.0, worse: float = 0.0):
    """(W, tries) effects: so many gains at places of chance; of the others half are worse, by `worse` on average."""
    effects = -worse * rng.exponential(1, (worlds, tries)) * (rng.random((worlds, tries)) < 0.5)
    places = np.argsort(rng.random((worlds, tries)), 1)[:, :gains]
    np.put_along_axis(effects, places, size, 1)
    return effects + 0.0


def said(effects: np.ndarray, out: Outcome) -> str:
    true = effects > 0
    false = (out.kept & ~true).any(1).mean()
    words = [f"any false keep {false:6.2%}"]
    if true.any():
        shares = (out.kept & ~true).sum(1) / np.maximum(out.kept.sum(1), 1)
        words += [f"false of kept {shares.mean():5.2%}", f"gains kept {out.kept[true].mean():4.0%}"]
        words += [f"discarded {out.discarded[true].mean():4.0%}", f"seeds of a gain {out.seeds[true].mean():4.1f}"]
    words += [f"seeds of another {out.seeds[~true].mean():4.1f}"]
    return "  ".join([*words, f"runs a try {(out.seeds.sum(1) + out.bases).mean() / effects.shape[1]:4.1f}"])


def rules(rng: np.random.Generator) -> None:
    """Every rule, every way to use the baseline's runs."""
    for delta in (1.0, 1.5, 2.0):
        for name in RULES:
            game = Game(name, delta=delta)
            nothing, four = np.zeros((WORLDS // 2, 200)), planted(rng, WORLDS // 2, 40, 4)
            null, found = play(rng, nothing, game), play(rng, four, game)
            row = f"{delta:3} {most_seeds(delta, ALPHA):3} {name:20} null {null.kept.any(1).mean():6.2%}"
            print(f"{row}  {said(four, found)}")


def bases(rng: np.random.Generator) -> None:
    """Whose runs a baseline has."""
    for name in (CHOSEN, "e-values, e-LOND", "looks, LORD++"):
        for base in ("shared", "reign", "fresh"):
            game = Game(name, base)
            nothing, four = np.zeros((WORLDS, 200)), planted(rng, WORLDS, 40, 4)
            many = planted(rng, WORLDS, 100, 20, 1.0)
            print(f"{name:20} {base:7} 200 of no effect: {said(nothing, play(rng, nothing, game))}")
            print(f"{name:20} {base:7}      4 among 40: {said(four, play(rng, four, game))}")
            print(f"{name:20} {base:7}    20 among 100: {said(many, play(rng, many, game))}")


def null(rng: np.random.Generator) -> list[float]:
    """Two hundred tries without a true gain."""
    found = []
    for delta in (1.0, 1.5, 3.0):
        for base in ("reign", "shared", "fresh"):
            for kind in ("normal", "unequal", "harm", "heavy", "spikes", "skewed up", "skewed down", "sly"):
                game = Game(base=base, delta=delta, kind=kind, sly=kind == "sly")
                shape = WORLDS, 200
                effects = planted(rng, *shape, 0, worse=1.0) if kind == "harm" else np.zeros(shape)
                spreads = np.exp(rng.normal(0, 0.7, shape)) if kind == "unequal" else None
                out = play(rng, effects, game, spreads)
                print(f"{delta:3} {base:7} {kind:12} {said(effects, out)}")
                found += [out.kept.any(1).mean()] if base == "reign" else []
    return found


def power(rng: np.random.Generator) -> None:
    """True gains among others."""
    for delta in (1.0, 1.5, 2.0, 3.0):
        for tries, gains, size in (
            (40, 4, 1),
            (40, 1, 1),
            (40, 4, 1.5),
            (40, 4, 2),
            (100, 4, 1),
            (100, 10, 1),
            (200, 4, 1),
        ):
            for kind in ("normal", "unequal", "heavy") if tries == 40 else ("normal",):
                effects = planted(rng, WORLDS // 2, tries, gains, size, worse=0.5)
                spreads = np.exp(rng.normal(0, 0.4, effects.shape)) if kind == "unequal" else None
                out = play(rng, effects, Game(delta=delta, kind=kind), spreads)
                row = f"{delta:3} {most_seeds(delta, ALPHA):3} {gains:2} x {size:3} of {tries:3} {kind:8}"
                print(f"{row} {said(effects, out)}")


def main() -> None:
    parts = {"rules": rules, "bases": bases, "null": null, "power": power}
    for name in sys.argv[1:] or parts:
        print(f"\n{name}", flush=True)
        worst = parts[name](np.random.default_rng(SEED))
        if worst:
            print(f"the most: any false keep in {max(worst):.2%} of {len(worst)} rows")


if __name__ == "__main__":
    main()
