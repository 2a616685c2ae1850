"""Labelled things: their fields, the split that keeps units whole and classes even, rows that are read when needed."""

from dataclasses import replace

import numpy as np
import pytest

from blockyard import UsageError
from blockyard.data import items as items_of
from blockyard.data.holdout import hold_out
from blockyard.data.items import Asked, Items, Some, numbered
from blockyard.data.rows import Held


def things(labels, **more):
    labels = np.array(labels)
    rows = Held({"tokens": np.arange(len(labels), dtype=float)[:, None]})
    names = [f"thing {i}" for i in range(len(labels))]
    return Items("things", "0", "vectors", rows, labels, [f"c{i}" for i in range(labels.max() + 1)], names, **more)


def test_every_class_gives_its_shares_and_no_thing_is_in_two_parts():
    labels = np.array([0] * 200 + [1] * 100 + [2] * 40)
    parts, notes = hold_out(things(labels))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(340)) and not notes
    for label, count in enumerate((200, 100, 40)):
        found = {name: (labels[places] == label).sum() for name, places in parts.items()}
        assert all(
            abs(found[name] - share * count) <= 1 for name, share in {"train": 0.7, "tune": 0.15, "test": 0.15}.items()
        )
    again, _ = hold_out(things(labels))
    assert all((parts[name] == again[name]).all() for name in parts)


def test_fewer_things_train_and_the_same_are_held_out():
    labels = np.array([0] * 200 + [1] * 100 + [2] * 40)
    parts, _ = hold_out(things(labels))
    few, _ = hold_out(things(labels), 34)
    assert (few["test"] == parts["test"]).all() and (few["tune"] == parts["tune"]).all()
    assert np.bincount(labels[few["train"]]).tolist() == [20, 10, 4]
    assert [place for place in parts["train"] if place in few["train"]] == few["train"].tolist()
    assert (hold_out(things(labels), 10_000)[0]["train"] == parts["train"]).all()
    with pytest.raises(UsageError, match="no training example of 'c2'"):
        hold_out(things(labels), 2)


def test_units_stay_whole_and_classes_near_their_shares():
    draw = np.random.default_rng(0)
    unit = draw.integers(0, 40, 1000)
    labels = (unit % 2 + draw.integers(0, 2, 1000)) % 3
    parts, _ = hold_out(things(labels, unit=unit))
    owners = [set(unit[places]) for places in parts.values()]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 40
    for label in range(3):
        total = (labels == label).sum()
        assert (labels[parts["test"]] == label).sum() == pytest.approx(0.15 * total, abs=0.05 * total)


def test_three_units_give_each_part_one_and_two_are_refused():
    parts, _ = hold_out(things([0, 1] * 30, unit=np.arange(60) % 3))
    assert {name: len(places) for name, places in parts.items()} == dict.fromkeys(("train", "tune", "test"), 20)
    with pytest.raises(UsageError, match="2 units"):
        hold_out(things([0, 1] * 30, unit=np.arange(60) // 30))


def test_a_published_test_is_what_is_tested():
    test = np.arange(100) >= 80
    parts, notes = hold_out(things([0, 1] * 50, test=test))
    assert set(parts["test"]) == set(range(80, 100)) and not notes
    assert len(parts["tune"]) == pytest.approx(80 * 0.15 / 0.85, abs=1)
    _, notes = hold_out(things([0, 1] * 50, test=test, unit=np.arange(100) // 2 % 7))
    assert "shares units" in notes[0]
    apart, notes = hold_out(things([0, 1] * 50, test=test, unit=np.arange(100) // 20))
    assert not notes and not set(apart["train"] // 20) & set(apart["tune"] // 20)


def test_what_cannot_be_split_is_refused():
    with pytest.raises(UsageError, match="too few to hold a test part out"):
        hold_out(things([0, 1]))
    with pytest.raises(UsageError, match="no training example of 'c1'"):
        hold_out(things([0] * 80 + [1] * 20, test=np.arange(100) >= 80))


def test_another_field_is_the_class_and_a_condition_says_what_is_held_out():
    fields = {"n": np.array(["0", "5", "10", "2"], object), "who": np.array(["b", "a", "b", "a"], object)}
    made = replace(things([0, 1, 0, 1]), fields=fields)
    named = made.by(label="who", unit="n", test="n<5")
    assert (
        named.classes == ["a", "b"]
        and list(named.labels) == [1, 0, 1, 0]
        and list(named.test) == [True, False, False, True]
    )
    assert list(named.unit) == [0, 2, 3, 1]  # numbers by their size
    assert list(made.by(test="who=a").test) == [False, True, False, True] and made.by() is made
    for bad, says in (
        (dict(label="whom"), "who"), (dict(test="n"), "no condition"), (dict(test="who<3"), "not a number"),
        (dict(test="n<99"), "none is left"), (dict(test="n>99"), "none of the 4"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            made.by(**bad)
    with pytest.raises(UsageError, match="nothing of its vectors"):
        things([0, 1]).by(label="who")


def test_classes_are_ordered_as_a_reader_expects():
    assert numbered(["10", "9", "b", "1", "a"])[1] == ["1", "9", "10", "a", "b"]


def test_rows_are_read_when_asked_for_and_kept_while_there_is_room(monkeypatch):
    read = []

    def one(place):
        read.append(place)
        return np.full(4, place, np.uint8)

    rows = Asked(10, one, lambda stack, places: {"tokens": stack * 2.0, "place": places})
    some = Some(rows, np.array([7, 3, 5]), {"targets": np.arange(10) * 10})
    assert not read
    taken = some.take(slice(1, None))
    assert taken["tokens"][:, 0].tolist() == [6, 10] and taken["targets"].tolist() == [30, 50] and read == [3, 5]
    some.take(np.array([2, 0]))
    assert read == [3, 5, 7]
    monkeypatch.setattr(items_of, "KEPT", 12)
    rows.take([1]), rows.take([1])
    assert read == [3, 5, 7, 1, 1]
