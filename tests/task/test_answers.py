"""The answers of every task, worked out a second time by somebody slow."""

import math
from itertools import pairwise, permutations

import numpy as np
import pytest

from blockyard.core.errors import UsageError
from blockyard.task import make_task


def rows(text, n=60):
    task = make_task(text)
    tokens, targets = task.sample(11, n)
    return task, list(zip(tokens.tolist(), targets.tolist()))


@pytest.mark.parametrize("rewrites", [0, 3])
@pytest.mark.parametrize("noise", ["false", "true"])
def test_mqar(rewrites, noise):
    task, examples = rows(f"mqar:length=40,rewrites={rewrites},noise={noise}")
    bound = 2 * (task.pairs + rewrites)
    for tokens, targets in examples:
        told = dict(zip(tokens[:bound:2], tokens[1:bound:2]))
        asked = [t for t, target in enumerate(targets) if target >= 0]
        assert sorted(tokens[t] for t in asked) == sorted(told) and len(told) == task.pairs
        assert all(targets[t] == told[tokens[t]] for t in asked) and min(asked) >= bound
        assert rewrites == 0 or sum(v in told.values() for v in tokens[1:8:2]) < 4
        blanks = [token for t, token in enumerate(tokens) if t >= bound and t not in asked]
        assert all(blanks) if noise == "true" else not any(blanks)


def test_mqar_asks_sooner_for_a_small_power():
    def gap(power):
        targets = make_task(f"mqar:pairs=2,length=64,power={power}").sample(0, 2000).targets
        return (np.nonzero(targets >= 0)[1] - 4).mean()

    assert gap(0.01) < 0.7 * gap(1.0) and abs(gap(1.0) - 29) < 1  # even: the mean of 0, 2, ..., 58


def test_selective_copying():
    task, examples = rows("selective_copying:count=5,letters=3")
    for tokens, targets in examples:
        assert [t for t in tokens if t < 3] == targets[-5:] and set(targets[:-5]) == {-1}
        assert tokens[-5:] == [4] * 5 and tokens[:-5].count(3) == task.length - 10


STRINGS = {
    "copy": lambda text: text,
    "reverse": lambda text: text[::-1],
    "sort": sorted,
    "modular_sum": lambda text: [sum(text[: i + 1]) % 5 for i in range(len(text))],
}


@pytest.mark.parametrize("name", STRINGS)
def test_strings(name):
    """Letters, a mark, what is asked and, as the next inputs, what was answered; blanks around."""
    _, examples = rows(f"{name}:count=6,letters=5,offset=4")
    sizes, starts = set(), set()
    for tokens, targets in examples:
        mark = tokens.index(6)
        start = next(i for i, token in enumerate(tokens) if token != 5)
        text = tokens[start:mark]
        answer = list(STRINGS[name](text))
        assert targets == [-1] * mark + answer + [-1] * (16 - mark - len(text))
        assert tokens[mark + 1 : mark + 1 + len(text)] == answer[: 15 - mark]
        assert set(tokens[mark + 1 + len(text) :]) <= {5} and all(letter < 5 for letter in text)
        sizes.add(len(text))
        starts.add(start)
    assert sizes == set(range(1, 7)) and starts == set(range(5))


@pytest.mark.parametrize("name", STRINGS)
def test_longer_strings_stand_behind_fewer_blanks(name):
    longer = make_task(f"{name}:count=6,offset=10").stretched(4)
    assert (longer.count, longer.offset, longer.length) == (24, 2, 50)
    two = make_task(f"{name}:letters=2")  # and a blank and a mark
    assert two.answers == range(2) and two.vocab == 4
    with pytest.raises(UsageError, match="letters=1 must be at least 2"):
        make_task(f"{name}:letters=1")


def test_induction():
    _, examples = rows("induction:period=9,length=30,alphabet=12")
    periods = set()
    for tokens, targets in examples:
        period = tokens.index(tokens[0], 1)
        periods.add(period)
        assert len(set(tokens)) == period and tokens[period:] == tokens[:-period]
        assert targets[:period] == [-1] * period and targets[period:-1] == tokens[period + 1 :]
        assert targets[-1] == tokens[30 - period]
    assert periods == {5, 6, 7, 8, 9}


def test_phonebook():
    _, examples = rows("phonebook:entries=5,asks=3,letters=2,digits=3,alphabet=4")
    for tokens, targets in examples:
        entries = [tokens[i : i + 5] for i in range(0, 25, 5)]
        told = {tuple(e[:2]): e[2:] for e in entries}
        asked = []
        for start in (25, 31, 37):
            assert tokens[start] == 14
            name = tuple(tokens[start + 1 : start + 3])
            assert targets[start + 2 : start + 5] == told[name]
            assert tokens[start + 3 : start + 5] == told[name][:2]
            asked.append(name)
        assert len(told) == 5 and len(set(asked)) == 3 and sum(t >= 0 for t in targets) == 9
        assert all(4 <= d < 14 for e in entries for d in e[2:]) and all(c < 4 for name in told for c in name)


def test_reverse_phonebook():
    _, examples = rows("reverse_phonebook:entries=5,letters=2,digits=3,alphabet=4")
    for tokens, targets in examples:
        told = {tuple(tokens[i : i + 2]): tokens[i + 2 : i + 5] for i in range(3, 28, 5)}
        number = told[tuple(tokens[1:3])]
        assert tokens[0] == tokens[28] == 14 and tokens[29:] == number[:2] and len(told) == 5
        assert targets == [-1] * 28 + number


def test_needle():
    task, examples = rows("needle:needles=4,asks=2,length=40")
    depth = []
    for tokens, targets in examples:
        marks = [t for t, token in enumerate(tokens) if token == task.vocab - 2]
        told = {tokens[t + 1]: tokens[t + 2] for t in marks}
        depth += marks
        assert len(told) == 4 and max(marks) < 34 and all(b - a > 2 for a, b in pairwise(marks))
        assert tokens[36] == tokens[38] == task.vocab - 1 and tokens[37] != tokens[39]
        assert targets == [-1] * 37 + [told[tokens[37]], -1, told[tokens[39]]]
    assert min(depth) == 0 and max(depth) == 33


def test_parity():
    task, examples = rows("parity:length=25")
    assert task.vocab == 2 and task.answers == range(2)
    for tokens, targets in examples:
        assert targets == [sum(tokens[: t + 1]) % 2 for t in range(25)]


@pytest.mark.parametrize("operators", ["+-*", "*", "+-"])
def test_modular_arithmetic(operators):
    _, examples = rows(f"modular_arithmetic:modulus=7,length=16,operators={operators}")
    for tokens, targets in examples:
        text = ["+-*"[token - 7] if token > 6 else str(token) for token in tokens]
        assert set(text[1::2]) <= set(operators)
        assert targets[1::2] == [-1] * 8
        assert targets[::2] == [eval("".join(text[: t + 1])) % 7 for t in range(0, 16, 2)]


@pytest.mark.parametrize("name", ["modular_arithmetic", "modular_brackets"])
def test_modular_numbers_are_counted_up_to_two_or_more(name):
    task, examples = rows(f"{name}:modulus=2")
    assert {target for _, targets in examples for target in targets} == {-1, 0, 1} and task.answers == range(2)
    with pytest.raises(UsageError, match="modulus=1 must be at least 2"):
        make_task(f"{name}:modulus=1")


def test_modular_brackets():
    _, examples = rows("modular_brackets:numbers=9,modulus=5")
    shapes = set()
    for tokens, targets in examples:
        text = "".join("+-*()"[token - 5] if token > 4 else str(token) for token in tokens)
        for t, sign in enumerate(text):
            if sign != ")":
                assert targets[t] == -1
                continue
            start = max(s for s in range(t) if text[s : t + 1].count("(") == text[s : t + 1].count(")"))
            assert targets[t] == eval(text[start : t + 1]) % 5
        assert sum(c.isdigit() for c in text) == 9 and targets[-1] == eval(text) % 5
        shapes.add("".join("n" if c.isdigit() else c for c in text if c not in "+-*"))
    assert len(shapes) > 50


@pytest.mark.parametrize("group, points", [("S3", 3), ("S5", 5), ("A5", 5)])
def test_group_word(group, points):
    def sign(p):
        return round(np.linalg.det(np.eye(points)[list(p)]))

    elements = [p for p in permutations(range(points)) if group[0] == "S" or sign(p) == 1]
    task, examples = rows(f"group_word:group={group},moves=all", 10)
    assert len(elements) == task.vocab
    for tokens, targets in examples:
        now = np.arange(points)
        for token, target in zip(tokens, targets):
            now = np.array(elements[token])[now]
            assert elements[target] == tuple(now)


def test_group_word_counts_and_generates():
    for tokens, targets in rows("group_word:group=Z60,moves=all,length=80", 10)[1]:
        assert targets == [sum(tokens[: t + 1]) % 60 for t in range(80)]
    for group in ("S3", "A5", "S5", "Z60"):
        tokens, targets = make_task(f"group_word:group={group},moves=few,length=200").sample(0, 400)
        assert len(np.unique(tokens)) == 2
        assert len(np.unique(targets)) == make_task(f"group_word:group={group}").vocab


def test_swap_recall():
    task, examples = rows("swap_recall:slots=4,pairs=6,length=51,asked=0.4")
    turns = (51 - 16) // 2
    for tokens, targets in examples:
        meaning = dict(zip(tokens[:12:2], tokens[1:12:2]))
        held, asked = tokens[12:16], 0
        assert len(meaning) == 6 and len(set(held)) == 4
        for t in range(16, 50, 2):
            first, slot = tokens[t : t + 2]
            if first == task.vocab - 2:
                assert targets[t + 1] == meaning[held[slot]]
                asked += 1
            else:
                assert first != slot and targets[t + 1] == -1
                held[first], held[slot] = held[slot], held[first]
        assert asked == round(0.4 * turns) == sum(t >= 0 for t in targets) and targets[49] >= 0
        assert tokens[50] == task.vocab - 1 and math.isclose(task.chance, 1 / 8)
