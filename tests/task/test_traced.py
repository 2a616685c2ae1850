"""What tasks with long answers share: a row is right where greedy decoding writes it, and errors are told by slice."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.task import Examples, make_task
from blockyard.task._base import errors
from blockyard.task._exercise import Exercise
from blockyard.task._slices import Slicing, figures
from blockyard.task._traced import BEHIND, TOKEN, Traced, packed
from tests.asked import hold_what_is_written


class Twice(Traced):
    """a b = b a = a b: two letters, turned and turned back."""

    def __init__(self) -> None:
        super().__init__(7, range(6), 5, 2, 5)

    def asks(self, seed, n):
        return np.random.default_rng(seed).integers(0, 5, (n, 2))

    def replies(self, questions):
        return np.concatenate([questions[:, ::-1], np.full((len(questions), 1), 5), questions], 1)


def test_a_row_is_question_mark_derivation_and_answer():
    task = Twice()
    tokens, targets = task.sample(0, 6)
    assert tokens.shape == (6, 7) and (tokens[:, 2] == 5).all() and (tokens[:, 5] == 5).all()
    assert (targets[:, :2] == -1).all() and np.array_equal(targets[:, 2:6], tokens[:, 3:])
    assert np.array_equal(targets[:, 5:], tokens[:, :2])
    assert task.answered(Examples(tokens, targets)).tolist() == [[False] * 5 + [True] * 2] * 6
    assert (task.solve(tokens)[targets >= 0] == targets[targets >= 0]).all()


def test_a_row_is_right_where_greedy_decoding_writes_it():
    """Replies that a model wrote itself are right; each of them with one other token is wrong."""
    hold_what_is_written(make_task("multiplication:digits=2"))


def test_an_error_on_the_way_is_told_from_one_in_the_answer():
    task = Twice()
    examples = task.sample(0, 4)
    said = examples.targets.copy()
    said[0, 2] += 1  # in the derivation
    said[1, 6] += 1  # in the answer
    found = task.figures(task.priced({"ids": said}, examples).sum(0).astype(float), 4.0)
    assert task.priced({"ids": said}, examples)[:, 0].tolist() == [1, 1, 0, 0]
    assert found == {BEHIND: 0.25, TOKEN: 2 / 20}


def test_slices_add_up():
    """Slices of places have the errors of all between them; a row counts once, whatever is wrong in it."""
    examples = Examples(np.zeros((3, 4), int), np.array([[1, 2, -1, 3], [-1, 1, 1, -1], [4, -1, -1, -1]]))
    said = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    wrong = (examples.targets >= 0) & (said != examples.targets)
    parity = Slicing("side", ("left", "right"), lambda asked: np.tile([0, 0, 1, 1], (len(asked.tokens), 1)))
    rows = Slicing("size", ("1", "2", "9"), lambda asked: np.array([1, 0, -1]))
    sums = parity.amounts(wrong, examples).sum(0)
    assert sums.tolist() == [2, 4, 1, 2]
    assert sums[::2].sum() == errors(said, examples)[0].sum() and sums[1::2].sum() == errors(said, examples)[1].sum()
    assert rows.amounts(wrong, examples).sum(0).tolist() == [0, 1, 1, 1, 0, 0]
    both = np.concatenate([sums, rows.amounts(wrong, examples).sum(0)]).astype(float)
    found = figures([parity, rows], both)
    assert found["error at side left"] == 0.5 and found["error at size 2"] == 1 and np.isnan(found["error at size 9"])
    line = rows.exhibit(both[4:]).lines[0]
    assert line.x == [1.0, 2.0, 9.0] and line.y == [0.0, 1.0, None]
    assert parity.exhibit(both[:4]).x == "side: left, right"


def test_longer_rows_are_priced_by_the_longer_task():
    """A longer product has more places, and the figures of each of them are the longer task's."""
    exercise = Exercise("multiplication", make_task("multiplication:digits=2"))
    for length, exam in exercise.at_lengths("final", 9):
        rows = exam.take(slice(0, 40))
        targets = torch.from_numpy(rows["targets"])
        batch = by.Batch(torch.from_numpy(rows["tokens"]), targets)
        digits = (length - 1) // 4
        amounts = exercise.amounts({"ids": targets}, batch)
        assert amounts.shape == (40, 4 + 4 * digits + 6 + 8) and amounts[:, :3].abs().max() == 0
    assert length == 33


def test_rows_are_packed_to_the_left():
    assert packed(np.array([[-1, 3, -1, 4], [1, 2, 3, 4]]), 3).tolist() == [[3, 4, -1], [1, 2, 3]]
    assert packed(np.array([[5]]), 3).tolist() == [[5, -1, -1]]


@pytest.mark.parametrize("name", ["multiplication:digits=2", "counting:tokens=chunks,trace=yes"])
def test_a_reply_is_verified(name):
    """The task's own replies are, and none with another token in it."""
    task = make_task(name)
    asked = task.asks(0, 50)
    replies = task.replies(asked)
    assert task.verified(asked, replies).all()
    draw, rows = np.random.default_rng(0), np.arange(50)
    place = draw.integers(0, (replies >= 0).sum(1))
    replies[rows, place] = (replies[rows, place] + 1 + draw.integers(0, task.vocab - 1, 50)) % task.vocab
    assert not task.verified(asked, replies).any()
