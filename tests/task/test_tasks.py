"""Every task keeps the contract, and every check catches a task that does not."""

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.task import Examples, errors, make_task, tasks
from blockyard.task._base import Draw
from blockyard.task._check import promises, score
from blockyard.task.parity import Parity

CLASSES = {name: registry.find("task", name).load_named() for name in tasks()}


def share(predictor, examples):
    wrong, asked = errors(predictor(examples.tokens), examples)
    return 1 - wrong.sum() / asked.sum(), int(asked.sum())


def complaints(task, n=400):
    """What is wrong with a task, in words; nothing for a good one."""
    return [name for name, holds in promises(task, n) if not holds]


@pytest.mark.parametrize(
    "name, settings", [(name, each) for name in tasks() for each in CLASSES[name].variants], ids=str
)
def test_a_task_keeps_its_contract(name, settings):
    task = CLASSES[name](**settings)
    assert complaints(task) == []
    assert repr(make_task(repr(task))) == repr(task)
    for name, predictor in task.predictors().items():
        if not task.of_ids:
            worse = task.metric.sign * (score(task, predictor, task.sample(5, 300)))
            best = task.metric.sign * (score(task, task.predictors()["oracle"], task.sample(5, 300)))
            assert name == "oracle" or worse > best, name
            continue
        right = share(predictor, task.sample(5, 300))[0]
        assert name == "oracle" or task.vocab == 2 or right < 0.9 or task.length < 9, name


@pytest.mark.parametrize("text", [*tasks(), "mqar:rewrites=2", "swap_recall:slots=4,pairs=6"])
@pytest.mark.parametrize("factor", [1, 1.5, 4])
def test_stretching_keeps_the_vocabulary(text, factor):
    task = make_task(text)
    if not task.grows:
        pytest.skip("has no length of its own")
    longer = task.stretched(factor)
    same = ("vocab", "chance") if task.of_ids else ()
    assert type(longer) is type(task) and all(getattr(longer, name) == getattr(task, name) for name in same)
    assert longer.length > task.length if factor > 1 else repr(longer) == repr(task)
    assert complaints(longer, 50) in ([], ["chance"])
    with pytest.raises(UsageError, match="by a factor above 0"):
        task.stretched(0)


class Shifted(Parity):
    def sample(self, seed, n):
        tokens, targets = super().sample(seed, n)
        return Examples(tokens, np.roll(targets, 1, 1))


class Peeking(Parity):
    """Answers with what the next token brings."""

    def solve(self, tokens):
        return np.roll(super().solve(tokens), -1, 1)


class Unseeded(Parity):
    def sample(self, seed, n):
        return super().sample(time.perf_counter_ns(), n)


class Whole(Parity):
    """Draws that depend on how many rows there are."""

    def sample(self, seed, n):
        return super().sample(seed + n, n)


class Overconfident(Parity):
    chance = 0.6


class Outside(Parity):
    def sample(self, seed, n):
        return Examples(*(a + 1 for a in super().sample(seed, n)))


@pytest.mark.parametrize(
    "double, caught",
    [
        (Shifted, "oracle"), (Peeking, "causal"), (Unseeded, "seed"), (Whole, "rows"), (Overconfident, "chance"),
        (Outside, "range"),
    ],
)  # fmt: skip
def test_a_task_that_lies_is_caught(double, caught):
    assert caught in complaints(double(length=12))


@pytest.mark.parametrize("name", tasks())
def test_examples_never_change_between_versions(name):
    """A new task says what it begins with: `first`, in its class."""
    tokens, targets = make_task(name).sample(0, 8)
    assert hashlib.sha256(tokens.tobytes() + targets.tobytes()).hexdigest()[:12] == CLASSES[name].first


@pytest.mark.parametrize("name", tasks())
def test_thousands_of_long_examples_take_no_time(name):
    task = make_task(name)
    task = task.stretched(256 / task.length) if task.grows else task
    task.sample(0, 1)
    start = time.process_time()
    task.sample(0, 1000)
    assert time.process_time() - start < 2


def test_errors_are_counted_by_example():
    examples = Examples(np.zeros((2, 3), int), np.array([[1, -1, 2], [-1, 3, -1]]))
    wrong, asked = errors(np.array([[1, 9, 9], [9, 3, 9]]), examples)
    assert wrong.tolist() == [1, 0] and asked.tolist() == [2, 1]


def test_distinct_numbers_are_fair():
    rows = Draw(0, 20_000).distinct(3, 5)
    assert all(len(set(row)) == 3 for row in rows[:200].tolist())
    for column in rows.T:
        assert np.abs(np.bincount(column, minlength=5) / 20_000 - 0.2).max() < 0.02
    pairs = np.bincount(rows[:, 0] * 5 + rows[:, 2], minlength=25).reshape(5, 5)
    assert np.abs(pairs[~np.eye(5, dtype=bool)] / 20_000 - 0.05).max() < 0.01
    assert sorted(Draw(1, 1).distinct(40, 40)[0].tolist()) == list(range(40))


@pytest.mark.parametrize(
    "text, words",
    [
        ("mqra", "unknown task 'mqra'; did you mean mqar"),
        ("mqar:pars=8", "unknown setting of task:mqar 'pars'; did you mean pairs"),
        ("mqar:pairs", "'pairs' is not key=value"),
        ("mqar:pairs=many", "pairs=many must be a whole number"),
        ("mqar:pairs=2.5", "pairs=2.5 must be a whole number"),
        ("mqar:noise=3", "noise=3 must be true or false"),
        ("mqar:power=big", "power=big must be a number"),
        ("mqar:pairs=8,length=16", "need length 32 or more, not 16"),
        ("mqar:pairs=17,length=128", "rewrites <= pairs <= keys"),
        ("mqar:rewrites=2,values=1", "2 values"),
        ("mqar:power=0", "must be positive"),
        ("selective_copying:count=0", "count=0 must be a whole number from 1"),
        ("selective_copying:count=20", "needs length 40 or more, not 32"),
        ("induction:period=70,length=99", "needs alphabet 70"),
        ("induction:length=8", "needs length 9 or more, not 8"),
        ("phonebook:entries=65,alphabet=8", r"entries=65 need 65 names or more; 8\^2=64"),
        ("phonebook:asks=5", "asks=5 need as many entries, not 4"),
        ("phonebook:letters=99", "too many"),
        ("reverse_phonebook:digits=0", "digits=0 must be a whole number from 1"),
        ("needle:asks=4", "asks <= needles <= keys, not 4 <= 3 <= 8"),
        ("needle:length=9", "need length 13 or more, not 9"),
        ("parity:length=0", "length=0 must be a whole number from 1"),
        ("modular_arithmetic:operators=+/", r"operators=\+/ must be some of"),
        ("modular_brackets:numbers=1", "numbers=1 must be at least 2"),
        ("group_word:group=S4,length=3", "unknown group 'S4'; did you mean"),
        ("group_word:moves=most", "unknown choice of moves 'most'"),
        ("swap_recall:slots=5", "slots <= pairs <= names, not 5 <= 2 <= 8"),
        ("swap_recall:asked=2", "asked=2.0 must lie between 0 and 1"),
        ("regression:points=1", "points=1 must be at least 2"),
        ("swap_recall:length=7", "need length 8 or more, not 7"),
    ],
)
def test_a_wrong_request_gets_one_line(text, words):
    with pytest.raises(UsageError, match=words) as error:
        make_task(text)
    assert "\n" not in str(error.value)


def test_names_may_have_dashes_and_need_no_torch():
    code = (
        "import sys; from blockyard.task import make_task\n"
        "make_task('selective-copying:count=2').sample(0, 2)\n"
        "assert 'torch' not in sys.modules and 'blockyard.task.mqar' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
