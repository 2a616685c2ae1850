"""Drawings of what runs left: those of which only an arm's own line differs stand in one frame."""

import re
from dataclasses import replace

import pytest

from blockyard.compare.report.exhibits import draw, merged
from blockyard.compare.report.figures import COLOURS
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


def test_arms_look_as_everywhere_and_lines_of_one_colour_have_marks_along_them():
    lines = {name: shown(range(3, 23), x="step", beside=(1.0,) * 20) for name in ("a", "b", "c")}
    for each in lines.values():
        each.lines[:] = [replace(line, x=list(map(float, range(20)))) for line in each.lines]
    lines["b"].lines[0] = replace(lines["b"].lines[0], y=[9.0] * 20)
    found = merged(lines)
    looks = {"a": 3, "b": 3 + COLOURS, "c": 5}
    markup = draw(found, "e", looks)
    parts = re.findall(r'<g class="c(\d)"(?: data-arm="(\d+)")?>(.*?)</g>', markup)
    of_arms = [(int(colour), int(arm), part) for colour, arm, part in parts if arm]
    assert [(colour, arm) for colour, arm, _ in of_arms[::2]] == [(look % COLOURS, look) for look in looks.values()]
    assert [part.count('class="mark"') > 2 for *_, part in of_arms[::2]] == [True, True, False], "two have one colour"
    others = [(int(colour), part) for colour, arm, part in parts if not arm]
    assert others[0][0] not in {look % COLOURS for look in looks.values()} and 'class="chosen"' in others[0][1]
