"""Train, tune and test of labelled things: by class in equal shares, by whole units, or as the publisher holds out."""

import hashlib
from collections.abc import Sequence

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.items import Items

RULE = 1  # raised when the same things are split otherwise; part of what names a task on them
SHARES = {"test": 0.15, "tune": 0.15, "train": 0.70}
Parts = dict[str, np.ndarray]


def hold_out(items: Items, most: int | None = None) -> tuple[Parts, tuple[str, ...]]:
    """The places of each part by name, in an order that says nothing of the things, and what must be said of them.

    Published test sets stay what they are; units stay whole; else each class gives its shares, by the hash of names.

    most   things that train, each class as large a share of them as of all; none: all that are not held out
    """
    order = np.array(sorted(range(len(items)), key=lambda i: hashlib.sha256(str(items.names[i]).encode()).digest()))
    notes: tuple[str, ...] = ()
    if items.test is None:
        parts = _divided(items, order, SHARES)
    else:
        left = {name: share for name, share in SHARES.items() if name != "test"}
        held, free = order[items.test[order]], order[~items.test[order]]
        shared = items.unit is not None and bool(np.isin(items.unit[free], items.unit[held]).any())
        parts = {"test": held} | _divided(items, free, left, whole=not shared)
        if shared:
            notes = ("the published test shares units with training: its figures are of units that are known",)
    if most is not None:
        parts["train"] = _fewer(items, parts["train"], most)
    _check(items, parts)
    return parts, notes


def _divided(items: Items, places: np.ndarray, shares: dict[str, float], whole: bool = True) -> Parts:
    """These places by the shares of the parts; whole units where there are any."""
    total = sum(shares.values())
    wanted = {name: share / total for name, share in shares.items()}
    if items.unit is not None and whole:
        return _by_unit(items, places, wanted)
    part = np.empty(len(places), object)
    for label in range(len(items.classes)):
        mine = np.flatnonzero(items.labels[places] == label)
        ends = np.round(np.cumsum([0.0, *wanted.values()]) * len(mine)).astype(int)
        for name, first, last in zip(wanted, ends, ends[1:]):
            part[mine[first:last]] = name
    return {name: places[part == name] for name in wanted}


def _fewer(items: Items, places: np.ndarray, most: int) -> np.ndarray:
    """So many of these places in their order, of each class its share."""
    labels, passed = items.labels[places], np.empty(len(places))
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        passed[mine] = (np.arange(len(mine)) + 0.5) / len(mine)  # the share of its class up to here
    return places[np.sort(np.argsort(passed, kind="stable")[:most])]


def _by_unit(items: Items, places: np.ndarray, wanted: dict[str, float]) -> Parts:
    """Units, the largest first, each to the part that is furthest from its share of that unit's classes."""
    assert items.unit is not None
    units, labels, classes = items.unit[places], items.labels[places], len(items.classes)
    names, sizes = np.unique(units, return_counts=True)
    if len(names) < len(wanted):
        raise UsageError(
            f"{items.name} has {len(names)} units that must stay whole, and {' and '.join(wanted)} need one each; "
            "name another field as the unit, or give more data"
        )
    counts = {unit: np.bincount(labels[units == unit], minlength=classes) for unit in names}
    goal = {name: share * np.bincount(labels, minlength=classes) for name, share in wanted.items()}
    have, owner = {name: np.zeros(classes) for name in wanted}, {}
    ranked = sorted(zip(-sizes, map(_digest, names), names))
    for done, (_, _, unit) in enumerate(ranked):
        empty = [name for name in wanted if not have[name].any()]
        among = empty if len(ranked) - done <= len(empty) else list(wanted)
        lack = {name: ((goal[name] - have[name]) / (goal[name] + 1e-9) * counts[unit]).sum() for name in among}
        owner[unit] = best = max(among, key=lambda name: lack[name])
        have[best] += counts[unit]
    part = np.array([owner[unit] for unit in units], object)
    return {name: places[part == name] for name in wanted}


def _digest(unit: object) -> bytes:
    return hashlib.sha256(str(unit).encode()).digest()


def _check(items: Items, parts: Parts) -> None:
    """Refuse parts that are empty, and classes that are asked and never shown."""
    for name in SHARES:
        if not len(parts[name]):
            raise UsageError(
                f"{items.name} has {len(items)} {items.kind}, too few to hold a {name} part out; give more"
            )
    shown = set(items.labels[parts["train"]].tolist())
    new = sorted({*items.labels[parts["test"]].tolist(), *items.labels[parts["tune"]].tolist()} - shown)
    if new:
        raise UsageError(f"{items.name}: no training example of {_listed(items.classes, new)}; give more of these")


def _listed(classes: Sequence[str], places: Sequence[int]) -> str:
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(repr(classes[i]) for i in places[:3]) + more
