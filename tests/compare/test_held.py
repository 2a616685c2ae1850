"""Exams of tasks: what they ask is never trained on, or it is said how much of it is."""

import pytest

from blockyard.compare.documents import Choice
from blockyard.compare.plan.dataset import named
from blockyard.core.random import fold
from blockyard.task import _held as held
from blockyard.task import make_task, tasks
from blockyard.task._held import EXAMPLES, hold_out

SMALL = ["parity:length=8", "parity:length=5", "group_word", "induction:period=3,length=9,alphabet=5"]


def rows(examples):
    return [row.tobytes() for row in examples.tokens]


@pytest.mark.parametrize("text", SMALL)
def test_no_training_step_draws_what_an_exam_asks(text):
    stuff = named(Choice(text, [], None))
    order, asked = stuff.order(stuff.length, 16, 0), set()
    for role in EXAMPLES:
        exam = rows(stuff.held.exams[role])
        assert exam and not asked & set(exam) and len(set(exam)) == len(exam)
        asked |= set(exam)
    drawn = {row.tobytes() for step in range(200) for row in order.next(step)["tokens"]}
    assert not drawn & asked and len(drawn) > len(asked)
    tokens, targets = order.next(7).values()
    assert (stuff.task.solve(tokens) == targets)[targets >= 0].all() and tokens.shape[0] == 16


def test_a_task_of_few_examples_says_how_many_are_new():
    few, none, many = (named(Choice(f"parity:length={n}", [], None)) for n in (8, 4, 40))
    assert "256 different examples: 42 are held out for the test and 21 for tuning" in few.notes[0]
    assert "no question of the test is new: there are only 16 different examples" in none.notes[0]
    said = {stuff: stuff.summary for stuff in (few, none, many)}
    assert many.notes == () and "1024 test examples, all new" in said[many]
    assert few.notes[0] in said[few] and none.notes[0] in said[none]
    exam = few.exam("final", 8)
    assert len(exam) == 42 and len(exam.weights) == 32 and abs(exam.weights.sum() - 1) < 1e-12
    assert few.scored == {"final": 42 * 8, "tune": 21 * 8}


def test_what_a_task_never_shows_in_training_may_all_be_asked():
    """Two thirds of it in the exam, others in tuning, each once; where training shows any of it, a quarter as usual."""
    task = make_task("two_hop:entities=50,facts=4,held=0.5")
    found, pool = hold_out(task), len(task.split.held) + len(task.split.apart)
    final, tune = (rows(found.exams[role]) for role in ("final", "tune"))
    assert len(set(final)) == len(final) == pool * 2 // 3 > 200 and 0 < len(set(tune)) == len(tune) <= pool // 3
    assert not set(final) & set(tune) and not {*final, *tune} & set(rows(task.sample(0, 5000)))
    shown = hold_out(make_task("life:side=4"))
    assert 0 < len(shown.exams["final"].tokens) <= shown.different // 4


def test_a_task_that_nobody_could_exhaust_is_asked_what_its_seeds_draw():
    for name in tasks():
        task = make_task(name)
        found = hold_out(task)
        if found.different == held.SURVEY:
            for role, count in EXAMPLES.items():
                assert rows(found.exams[role]) == rows(task.sample(fold("exam", role), count))
            assert rows(found.fresh(task, 5, 16)) == rows(task.sample(5, 16))


def test_an_exam_of_fewer_examples_than_groups_is_whole():
    stuff = named(Choice("parity:length=6", [], None))
    exam = stuff.exam("tune", 6)
    assert len(exam) < 32 and len(exam.weights) == len(exam)
    assert stuff.references("tune")["oracle"].max() == 0
    sizes = [size for size, _ in stuff.at_lengths("final", 6)]
    assert sizes == [6, 12, 24] and [
        row.tobytes() for row in next(stuff.at_lengths("final", 6))[1].take(slice(None))["tokens"]
    ] == rows(stuff.held.exams["final"])
