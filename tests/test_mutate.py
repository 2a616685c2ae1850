"""The tool that changes files: it tells what tests notice from what they do not, and touches nothing but its copy."""

import ast
from pathlib import Path

import pytest

from tests.changes import changes, chosen
from tests.mutate import ROOT, Bench, belonging, main

TOY = '''"""A file with 3 words in its header."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Where 1 + 1 is no sum."""

    claims = dict(wide=True)
    x: "int | 5" = 7


def inside(x: int, low=0, *, wide=False) -> bool:
    if x < low and not wide:
        raise ValueError(f"{x} is below {low + 1}")
    items = [2.5 * x]
    items.append(divmod(x, 2))
    while max(x, 0) > 100:
        x //= 2
    return -x in items or x < 0.5
'''
TEST = """from toy.room.adding import add, forever, unused

def test_add():
    assert add(2, 3) == 5 and forever(3) == 0
"""
ADDING = """import time

def add(a, b):
    return a + b

def forever(n):
    while n > 0:
        time.sleep(0.01)
        n -= 1
    return n

def unused(a):
    return a * 2
"""


def test_what_acts_is_changed_and_nothing_else():
    found = {f"{change.was} -> {change.now}" for change in changes(TOY)}
    assert found == {
        "7 -> 8", "0 -> 1", "False -> True", "x < low -> x <= low", "not wide -> wide", "2.5 -> 3.75",
        "2.5 * x -> 2.5 / x",
        "x < low and (not wide) -> x < low or not wide", "x < low and (not wide) -> not (x < low and (not wide))",
        "raise ValueError(f'{x} is below {low + 1}') -> pass", "items.append(divmod(x, 2)) -> pass", "2 -> 3",
        "divmod(x, 2) -> divmod(2, x)",
        "max(x, 0) > 100 -> max(x, 0) >= 100", "max(x, 0) > 100 -> not max(x, 0) > 100", "100 -> 101",
        "x //= 2 -> pass",
        "-x -> x", "-x in items -> -x not in items", "x < 0.5 -> not x < 0.5", "0.5 -> 0.75",
        "-x in items or x < 0.5 -> -x in items and x < 0.5",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["blockyard/train/loop.py", "blockyard/kernels/decayed/reference.py"])
def test_every_change_of_a_file_is_one_step_that_can_be_read(path):
    source = (ROOT / path).read_text()
    plain = ast.dump(ast.parse(source))
    found = changes(source)
    assert len(found) > 20 and all(ast.dump(ast.parse(change.apply(source))) != plain for change in found)
    assert chosen(source, 9, 1) == chosen(source, 9, 1) != chosen(source, 9, 2)


SEEN, UNSEEN = ("a + b -> a - b",), ("2 -> 3",)
MORE = ("n -= 1 -> pass", *SEEN), ("a * 2 -> a / 2", *UNSEEN)  # the first never ends


@pytest.mark.parametrize("seen, unseen", [(SEEN, UNSEEN), pytest.param(*MORE, marks=pytest.mark.slow)])
def test_what_is_noticed_is_told_from_what_is_not(tmp_path, seen, unseen):
    toy, rooms = tmp_path / "toys", (Path("toy/room"), Path("tests/room"))
    for room in rooms:
        (toy / room).mkdir(parents=True)
    file = rooms[0] / "adding.py"
    (toy / file).write_text(ADDING)
    (toy / rooms[1] / "test_adding.py").write_text(TEST)
    words = belonging(file, toy)
    assert words == ["tests/room/test_adding.py"]
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", toy, patience=1)
    tried = [change for change in changes(ADDING) if str(change) in (*seen, *unseen)]
    assert len(tried) == len(seen) + len(unseen)
    alive = {str(change) for change in bench.survivors(file, tried, words)}
    assert alive == {*unseen}
    assert (toy / file).read_text() == ADDING
    (toy / rooms[1] / "test_adding.py").write_text(TEST.replace("== 5", "== 6"))
    (tmp_path / "other").mkdir()
    with pytest.raises(SystemExit, match="without any change"):
        Bench(tmp_path / "other", toy).survivors(file, tried, words)


@pytest.mark.parametrize("file, test", [
    ("blockyard/compare/judge/statistics.py", "tests/compare/test_statistics.py"),
    ("blockyard/parts/mixer/linear/gla.py", "tests/systems/test_gla.py"),
    ("blockyard/parts/norm/rms.py", "tests/parts/test_claims.py"),
    ("blockyard/kernels/decayed/reference.py", "tests/kernels/test_kernel_cpu.py"),
    ("blockyard/core/numbers.py", "tests/core/test_numbers.py"),
])  # fmt: skip
def test_the_tests_of_a_file_are_found(file, test):
    assert test in belonging(Path(file))


def test_a_file_of_somewhere_else_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "other.py")])
