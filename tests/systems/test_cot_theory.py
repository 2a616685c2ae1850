"""What must hold of derivations: every line follows, brackets are needed, tables replay, no mutation passes."""

import ast
from itertools import combinations, pairwise

import numpy as np
import pytest

import blockyard as by
from blockyard.task import make_task
from blockyard.task._base import Draw
from blockyard.task._exercise import Exercise
from blockyard.task._expressions import drawn, read, written
from tests.asked import hold_what_is_written

P = 11
NAMES = {
    "cot_arithmetic": "operators=4,least=1", "cot_equations": "unknowns=3", "cot_lis": "", "cot_edit": "count=4",
}  # fmt: skip


def text_of(ids, modulus=P):
    """An expression as Python writes it."""
    return "".join(str(i) if i < modulus else "+-*/()="[i - modulus] for i in ids if i >= 0)


def value(node, modulus=P):
    """The residue of a parsed expression; / by the inverse."""
    if isinstance(node, ast.Constant):
        return node.value % modulus
    a, b = value(node.left, modulus), value(node.right, modulus)
    if isinstance(node.op, ast.Div):
        assert b, "nothing is divided by 0"
        return a * pow(b, -1, modulus) % modulus
    return {ast.Add: a + b, ast.Sub: a - b, ast.Mult: a * b}[type(node.op)] % modulus


def parsed(text):
    return ast.parse(text, mode="eval").body


def chains(operators=5, rows=60):
    """The lines of some derivations, the question first."""
    task = make_task(f"cot_arithmetic:operators={operators},least=1,trace=yes,modulus={P}")
    asked = task.asks(2, rows)
    return [f"{text_of(q)}={text_of(r)}".split("=") for q, r in zip(asked, task.replies(asked))]


def test_every_line_has_the_same_value():
    """(1) Python's own parser, modulo the prime, with inverses to divide."""
    for lines in chains():
        assert len({value(parsed(line)) for line in lines}) == 1


def test_every_line_has_one_operation_less():
    """(2) Down to none, and only one stretch of the line changes."""
    for lines in chains():
        many = [sum(sign in "+-*/" for sign in line) for line in lines]
        assert many == list(range(many[0], -1, -1)) and many[0] >= 1
        for one, other in pairwise(lines):
            same = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), len(other))
            ends = one[::-1], other[::-1]
            back = next((i for i, (a, b) in enumerate(zip(*ends)) if a != b), len(other))
            assert same + back >= len(other) - 3, "at most a number of two digits and a bracket are new"


def test_the_last_line_is_a_number():
    """(3) One token, evenly any residue."""
    last = [lines[-1] for lines in chains(3, 600)]
    counts = np.bincount([int(line) for line in last], minlength=P)
    assert len(counts) == P and counts.min() > 600 / P * 0.55


def test_no_pair_of_brackets_can_be_left_out():
    """(4) Without any one of them Python reads another tree."""
    seen = 0
    for line in (line for lines in chains(6, 80) for line in lines):
        tree, open_at = ast.dump(parsed(line)), []
        for place, sign in enumerate(line):
            if sign == "(":
                open_at.append(place)
            elif sign == ")":
                start = open_at.pop()
                bare = line[:start] + line[start + 1 : place] + line[place + 1 :]
                assert ast.dump(parsed(bare)) != tree
                seen += 1
    assert seen > 100


def test_what_is_written_is_read_back():
    """(4) The tree that was drawn, and the one that Python reads, whatever the ranks are called."""
    made = drawn(Draw(0, 200), 6, P)
    line = written(made, P)
    back = read(line, 6, P)
    assert np.array_equal(written(back, P), line) and np.array_equal(back.numbers, made.numbers)

    def tree(of, row, low, high):
        """The tree of a stretch of operators, fully bracketed."""
        if low == high:
            return str(of.numbers[row, low])
        at = low + int(of.ranks[row, low:high].argmin())
        return f"({tree(of, row, low, at)}{'+-*/'[of.signs[row, at]]}{tree(of, row, at + 1, high)})"

    for row in range(200):
        bare = ast.dump(parsed(text_of(line[row])))
        assert bare == ast.dump(parsed(tree(made, row, 0, 6))) == ast.dump(parsed(tree(back, row, 0, 6)))


@pytest.mark.parametrize("text", ["cot_arithmetic:operators=1,modulus=11,trace=yes", "cot_lis:count=4,numbers=5"])
def test_no_expression_of_an_exam_is_trained_on(text):
    """(5) Not even of a task with few of them."""
    task = make_task(text)
    material = Exercise(text, task)
    exams = [material.exam(role, task.length).rows.take(slice(None))["tokens"] for role in ("final", "tune")]
    asked = [{row.tobytes() for row in task.questions_of(rows)} for rows in exams]
    assert min(map(len, asked)) > 30 and not asked[0] & asked[1]
    trained = [task.questions_of(material.order(task.length, 64, 0).next(step)["tokens"]) for step in range(9)]
    assert not {row.tobytes() for rows in trained for row in rows} & (asked[0] | asked[1])


def test_the_table_of_rising_numbers_is_that_of_all_subsets():
    """(6) The longest of every set of places, and the answer is the largest cell."""
    task = make_task("cot_lis:count=8,least=1,numbers=6,trace=yes")
    asked = task.asks(1, 40)
    for question, reply in zip(asked, task.replies(asked)):
        x = question[question >= 0].tolist()
        best = [0] * len(x)
        for size in range(1, len(x) + 1):
            for chosen in combinations(range(len(x)), size):
                if all(x[a] < x[b] for a, b in pairwise(chosen)):
                    best[chosen[-1]] = size
        assert reply[reply >= 0].tolist() == [*best, task.mark, max(best)]


def distance(one, other):
    """The edit distance by its definition."""
    if not one or not other:
        return len(one) + len(other)
    change = distance(one[1:], other[1:]) + (one[0] != other[0])
    return change if one[0] == other[0] else min(change, 1 + distance(one[1:], other), 1 + distance(one, other[1:]))


def test_the_table_of_edits_is_that_of_all_beginnings():
    """(6) Row by row, with the answer in the last cell."""
    task = make_task("cot_edit:count=4,least=1,letters=3,trace=yes")
    asked = task.asks(1, 40)
    for question, reply in zip(asked, task.replies(asked)):
        ids = question[question >= 0].tolist()
        cut = ids.index(task.comma)
        one, other = ids[:cut], ids[cut + 1 :]
        said = []
        for i in range(1, len(one) + 1):
            said += [*(distance(one[:i], other[:j]) for j in range(1, len(other) + 1)), task.comma]
        assert reply[reply >= 0].tolist() == [*said[:-1], task.mark, distance(one, other)]


def test_elimination_keeps_the_solution():
    """(6) It solves the equations of every line, the last of which name it; there is just one."""
    task = make_task(f"cot_equations:unknowns=3,modulus={P},trace=yes")
    asked = task.asks(0, 60)
    states, swaps = task.eliminated(asked)
    first = np.stack([row[row != task.separator].reshape(3, 4) for row in asked])
    said = task.replies(asked)[:, -3:]
    for equations in (first, *states):
        assert np.array_equal((equations[:, :, :3] @ said[..., None] % P)[..., 0], equations[:, :, 3])
    for k, equations in enumerate(states):
        assert np.array_equal(
            equations[:, :, : k + 1], np.broadcast_to(np.eye(3, dtype=int)[:, : k + 1], (60, 3, k + 1))
        )
    determinants = np.round(np.linalg.det(first[:, :, :3])).astype(int) % P
    assert determinants.all() and set(swaps.tolist()) >= {0, 1}


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_ask_the_same_and_answer_the_same(name):
    """(7) At once or behind the derivation, which ends in the same tokens behind its last =."""
    direct, chain = (make_task(f"{name}:{NAMES[name]},trace={trace}".replace(":,", ":")) for trace in ("no", "yes"))
    asked = direct.asks(5, 60)
    assert np.array_equal(asked, chain.asks(5, 60))
    for short, long in zip(direct.replies(asked), chain.replies(asked)):
        short, long = short[short >= 0].tolist(), long[long >= 0].tolist()
        last = len(long) - 1 - long[::-1].index(chain.mark) if chain.mark in long else -1
        assert long[last + 1 :] == short and len(short) == (3 if name == "cot_equations" else 1)
    examples = chain.sample(5, 60)
    told = [examples.targets[i][row].tolist() for i, row in enumerate(chain.answered(examples))]
    assert told == [row[row >= 0].tolist() for row in direct.replies(asked)]


@pytest.mark.parametrize("name", NAMES)
def test_no_mutation_of_a_token_passes(name):
    """(8) Of 500 derivations with one other token at least 99 in a hundred are refused, and none that is whole."""
    task, draw = make_task(f"{name}:{NAMES[name]},trace=yes".replace(":,", ":")), np.random.default_rng(0)
    asked = task.asks(7, 500)
    replies, rows = task.replies(asked), np.arange(500)
    assert task.verified(asked, replies).all()
    place = draw.integers(0, (replies >= 0).sum(1))
    taken = np.array([np.flatnonzero(row >= 0)[at] for row, at in zip(replies, place)])
    replies[rows, taken] = (replies[rows, taken] + draw.integers(1, task.vocab, 500)) % task.vocab
    assert task.verified(asked, replies).mean() <= 0.01


@pytest.mark.parametrize("text, says", [
    ("cot_arithmetic:modulus=9", "must be a prime"), ("cot_arithmetic:least=5", "least <= operators"),
    ("cot_equations:modulus=1", "must be a prime"), ("cot_lis:least=20", "least <= count"),
    ("cot_edit:count=40", "count <= most"),
])  # fmt: skip
def test_what_cannot_be_derived_is_refused(text, says):
    with pytest.raises(by.UsageError, match=says):
        make_task(text)


@pytest.mark.parametrize(
    "text",
    [f"{name}:{more}{end}" for name, more in NAMES.items() for end in ("", ",trace=True" if more else "trace=True")],
)
def test_a_model_is_right_exactly_where_it_writes_the_reply(text):
    """What greedy decoding writes behind a question is what the score takes for right."""
    hold_what_is_written(make_task(text))
