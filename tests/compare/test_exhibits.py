"""Drawings of what runs left: those of which only an arm's own line differs stand in one frame."""

import re

import pytest

from blockyard.compare.report.exhibits import draw, merged
from blockyard.task import Exhibit, Line

STEPS = [1.0, 2.0, 3.0]


def shown(y, name="error", beside=(2.0, 3.0, 4.0), x="steps ahead", **more):
    lines = [Line(name, STEPS, list(y), **more), Line("last value", STEPS, list(beside))]
    return Exhibit("error by step", x, "scaled squared error", lines)


def test_the_lines_of_all_arms_stand_together_and_what_is_theirs_in_common_stands_once():
    found = merged({"a": shown((1, 2, 3)), "b": shown((1, 1, None))})
    assert [(line.name, line.y) for line in found.lines] == [
        ("a", [1, 2, 3]), ("b", [1, 1, None]), ("last value", [2.0, 3.0, 4.0])
    ]  # fmt: skip
    assert (found.title, found.x, found.y) == ("error by step", "steps ahead", "scaled squared error")
    markup = draw(found, "e")
    assert re.findall(r'<g class="(c\d)">', markup)[::2] == ["c0", "c1", "c2"], "lines without marks need their own"
    assert all(f">{name}</text>" in markup for name in ("a", "b", "last value"))


@pytest.mark.parametrize("other", [
    shown((1, 1, 1), beside=(9.0, 9.0, 9.0)), shown((1, 1, 1), x="level"), shown((1, 2, 3)),
    shown((1, 1, 1), low=[0.0] * 3, high=[2.0] * 3), Exhibit("error by step", "steps ahead", "scaled squared error"),
])  # fmt: skip
def test_what_is_of_different_things_stands_side_by_side(other):
    """Another line beside, another axis, nothing that differs, a band, no line at all."""
    assert merged({"a": shown((1, 2, 3)), "b": other}) is None
    assert merged({"a": shown((1, 2, 3))}) is None
