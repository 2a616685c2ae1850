"""The figure of the floors is the house test's ladder, and what the walk names is there."""

import re

import pytest
from pages import ROOT

from tests.test_house import LADDER

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALK = PAGE.partition("## From `--data` to a verdict")[2]


def floor(room):
    return 1 + max(map(floor, LADDER[room])) if LADDER[room] else 0


def below(room):
    return LADDER[room].union(*map(below, LADDER[room]))


def figure():
    """Every room above those that it stands on; what it reaches by way of another one is not drawn."""
    lines = []
    for room in sorted(LADDER, key=lambda room: (-floor(room), room)):
        direct = LADDER[room] - set().union(*map(below, LADDER[room]))
        lines.append(f"{floor(room):5}   {room:11} {' '.join(sorted(direct))}".rstrip())
    return "\n".join(["floor   room        stands on", *lines])


def test_the_figure_is_the_ladder():
    assert figure() in PAGE, f"docs/architecture.md must show\n{figure()}"


def test_what_the_page_names_is_there():
    named = re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", PAGE)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / "blockyard" / name).exists()]
    for path, function in re.findall(r"`([\w/]+\.py)` `(\w+)`", PAGE):
        assert re.search(rf"^(?:def|class) {function}\b", (ROOT / "blockyard" / path).read_text(), re.M), function


def test_the_walk_is_short():
    rooms = re.findall(r"^\d+\. \*\*(\w+)\*\*", WALK, re.M)
    assert 0 < len(set(rooms)) == len(rooms) <= 8 and all((ROOT / "blockyard" / room).is_dir() for room in rooms)


@pytest.mark.parametrize("room", sorted(LADDER))
def test_a_room_stands_on_lower_floors(room):
    assert all(floor(other) < floor(room) for other in LADDER[room])
