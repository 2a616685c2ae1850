"""The page of what the tests cost is what the kept figures give, and the figures keep to the budget."""

import subprocess
import sys

import pytest

from blockyard.core import registry
from tests import budget, clock
from tests.budget import OWN, RUNS, Cost, at_full_size, newcomers, page, read_costs, with_slow_of, write_costs
from tests.mutate import ROOT, read_figures


def test_the_page_is_current():
    """Where this fails, run `python -m tests.budget` and commit what it wrote."""
    assert budget.PAGE.read_text() == page(read_costs(), read_figures())


@pytest.mark.parametrize("name, minutes, seconds", RUNS)
def test_all_systems_will_fit(name, minutes, seconds):
    assert at_full_size(read_costs(), seconds) / budget.CORES / 60 <= minutes


def test_the_tests_of_a_system_are_quick():
    for file in {cost.file for cost in read_costs() if cost.file.startswith(f"{OWN}/")}:
        spent = sum(cost.fast_seconds for cost in read_costs() if cost.file == file)
        assert spent <= budget.OWN_SECONDS, f"{file}: mark its long cases slow, or make them smaller"


def test_a_newcomer_costs_what_the_others_cost(monkeypatch):
    monkeypatch.setattr(budget, "systems", lambda: [{}] * 14)
    costs = [
        Cost("", "", "", 0, 0, 7.0, 0, 0.0),
        Cost("tests/a/test_a.py", "test_x", "recipe", 4, 4, 8.0, 2, 4.0),
        Cost("tests/a/test_a.py", "test_y", "study", 2, 2, 1.0, 0, 0.0),
        Cost("tests/a/test_a.py", "test_z", "part", 5, 5, 5.0, 0, 0.0),
        Cost(f"{OWN}/test_b.py", "test_y", "", 0, 1, 3.0, 0, 0.0),
    ]
    assert newcomers(costs, RUNS[0][2]) == {"recipe": 2, "study": 0.5, "part": 1, OWN: 3}
    assert at_full_size(costs, RUNS[0][2]) == 24 + 10 * (2 + 1) + 12 * 0.5 + 13 * 3
    assert at_full_size(costs, RUNS[1][2]) == 28 + 10 * (3 + 1) + 12 * 0.5 + 13 * 3


def test_a_quick_run_keeps_what_slow_tests_took(tmp_path):
    both, new = Cost("f", "both", "recipe", 3, 2, 1.5, 0, 0.0), Cost("f", "new", "", 0, 1, 0.25, 0, 0.0)
    slow, gone = Cost("f", "slow", "", 0, 0, 0.0, 2, 6.0), Cost("gone", "x", "", 0, 0, 0.0, 1, 1.0)
    old = [both._replace(fast_seconds=9.0, slow=1, slow_seconds=5.0), slow, gone]
    found = [both._replace(slow=1, slow_seconds=5.0), new, slow]
    assert sorted(with_slow_of(old, [both, new])) == found
    write_costs(found, tmp_path / "costs.csv")
    assert read_costs(tmp_path / "costs.csv") == found


def test_a_suite_is_told_from_an_example():
    recipes, mixers = (list(registry.entries(kind)) for kind in ("recipe", "mixer"))
    assert clock.per(set(recipes)) == "recipe" and clock.per({*mixers, "mixer"}) == "part"
    assert clock.per(set(recipes[:3])) == clock.per({"float32"}) == ""
    assert clock.how_many("recipe") == len(recipes) and clock.how_many("part") > len(mixers)


def test_the_clock_counts_the_time_of_children(tmp_path):
    burn = "import time\\nwhile time.process_time() < 0.4: pass"
    (tmp_path / "test_toy.py").write_text(f"""import subprocess, sys, pytest
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_child(n): subprocess.run([sys.executable, "-c", "{burn}"])
def test_nothing(): pass
""")
    words = [
        "-p",
        "tests.clock",
        f"--clock={tmp_path / 'costs.csv'}",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    subprocess.run([sys.executable, "-m", "pytest", *words, f"--rootdir={tmp_path}", tmp_path], cwd=ROOT, check=True)
    start, child, nothing = read_costs(tmp_path / "costs.csv")
    assert start.fast_seconds > 0.1 and (child.test, child.fast, child.slow) == ("test_child", 1, 1)
    assert child.fast_seconds > 0.4 and child.slow_seconds > 0.4 > nothing.fast_seconds
