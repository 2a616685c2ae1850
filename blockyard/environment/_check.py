"""What an environment promises, on its table and on episodes of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from blockyard.core.claims import Verdict
from blockyard.core.draw import Draw
from blockyard.core.registry import Entry
from blockyard.core.settings import check_settings
from blockyard.environment._base import Environment
from blockyard.environment._table import Episodes, Table

ROWS = 2000


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it."""
    yield from kept(entry.load_named()(**check_settings(entry, settings)))


def kept(environment: Environment) -> Iterator[Verdict]:
    """The promises of an environment that was made."""
    table = Table.of(environment)
    inside = table.chance.sum((1, 2)) > 0  # states that an action may begin in
    sums = table.chance[inside].sum(2)
    yield Verdict("chances sum to 1", bool((table.chance >= 0).all() and np.abs(sums - 1).max() < 1e-9))
    whole = np.issubdtype(table.reward.dtype, np.integer)
    ranges = table.seen.min() >= 0 and table.seen.max() < environment.sights
    yield Verdict("rewards are whole, sights in their range", bool(whole and ranges))
    yield Verdict("what was seen and done tells the state", _told(table))
    plan = table.plan()
    best = float(plan.value[0][table.starts].mean())
    known = environment.optimum
    yield Verdict(
        "its optimum is that of dynamic programming", known is None or abs(known - best) < 1e-9, f"{best:.4g}"
    )
    played, again, other = (_best(table, plan.action, seed) for seed in (1, 1, 2))
    few = _best(table, plan.action, 1, 7)
    same = all(np.array_equal(a, b) for a, b in zip(played, again))
    differs = len(table.starts) == 1 and (table.chance.max(2) >= 1)[inside].all()  # nothing is drawn
    yield Verdict("a seed gives the same episodes again", same and (differs or not np.array_equal(played[0], other[0])))
    yield Verdict("the first do not depend on how many", all(np.array_equal(a[:7], b) for a, b in zip(played, few)))
    got = played.reward.sum(1)
    off = abs(got.mean() - best) / max(got.std() / ROWS**0.5, 1e-9)
    yield Verdict("the best plan gets the best return", bool(off < 4.5), f"{off:.1f} standard errors off")


def _told(table: Table) -> bool:
    """Whether no two starts look alike, nor two outcomes of an action that lead to different states."""
    if len({*table.seen[table.starts].tolist()}) < len(table.starts):
        return False
    after = np.where((table.chance > 0) & ~table.ended, table.after, -1)
    sight = np.where(after >= 0, table.seen[after], -1)
    alike = (sight[..., :, None] == sight[..., None, :]) & (sight >= 0)[..., None]
    return not bool((alike & (after[..., :, None] != after[..., None, :])).any())


def _best(table: Table, action: np.ndarray, seed: int, rows: int = ROWS) -> Episodes:
    return table.play(lambda t, state, seen, done: action[t, state], Draw(seed, rows))
