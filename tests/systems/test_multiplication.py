"""What must hold of a written multiplication: the digits, the carries, their kinds, and rows that are made easy."""

import numpy as np
import pytest

import blockyard as by
from blockyard.task import make_task
from blockyard.task._carries import CHAINED, NONE, PLAIN, worked
from blockyard.task._check import score
from tests.asked import hold_what_is_written

DRAW = np.random.default_rng(7)


def digits(numbers, width):
    """(n,width) the digits of whole numbers, the least significant first."""
    return np.array([[int(d) for d in str(number).zfill(width)[::-1]] for number in numbers], np.int64)


def pairs(count=500, width=5):
    """Pairs of numbers of so many digits, and their digits."""
    a, b = DRAW.integers(0, 10**width, (2, count)).tolist()
    return a, b, digits(a, width), digits(b, width)


def row_of(task, a, b):
    """The question of two numbers as a task writes it."""
    return np.array([[*map(int, str(a).zfill(task.digits)), 10, *map(int, str(b).zfill(task.times or task.digits))]])


def test_digits_and_carries_are_those_of_whole_numbers():
    """(1) c_k = (sum + r_k-1) mod 10 is the product for 500 pairs of five digits, and r_k is what is carried over k."""
    a, b, da, db = pairs()
    work = worked(da, db)
    assert np.array_equal(work.digits, digits([x * y for x, y in zip(a, b)], 10))
    for k in range(10):
        low = [(x % 10 ** (k + 1), y % 10 ** (k + 1)) for x, y in zip(a, b)]
        sums = [
            sum((x // 10**i % 10) * (y // 10 ** (k - i) % 10) for i in range(k + 1)) for x, y in low
        ]  # products that meet in column k
        assert work.sums[:, k].tolist() == sums
        below = [sum((p // 10**i % 10) * (q // 10**j % 10) * 10 ** (i + j) for i in range(k + 1) for j in range(k + 1)
                     if i + j <= k) // 10 ** (k + 1) for p, q in zip(a, b)]  # fmt: skip
        assert work.carry_out[:, k].tolist() == below


def test_rows_are_the_number_times_each_digit():
    """(1) Each row of the work is a times one digit of b, with the carries of that product alone."""
    a, _, da, db = pairs(50)
    work = worked(da, db)
    for i in range(5):
        assert np.array_equal(work.row[:, i], digits([x * int(d) for x, d in zip(a, db[:, i])], 6))
    assert np.array_equal(work.product, np.einsum("nj,ni->nij", da, db))
    assert np.array_equal(work.row_in[..., 1:], work.row_out[..., :-1]) and not work.row_in[..., 0].any()
    assert np.array_equal(work.row_chained, (work.product % 10 + work.row_in) > 9)


def test_an_answer_reversed_twice_is_itself():
    """(2) The reversed reply is the other one backwards, digit for digit, and both are the product."""
    plain, turned = make_task("multiplication:digits=4"), make_task("multiplication:digits=4,answer=reversed")
    asked = plain.asks(3, 40)
    assert np.array_equal(asked, turned.asks(3, 40))
    assert np.array_equal(turned.replies(asked)[:, ::-1], plain.replies(asked))
    said = [int("".join(map(str, row))) for row in plain.replies(asked)]
    parts = ["".join("x" if d == 10 else str(d) for d in row).split("x") for row in asked]
    assert said == [int(x) * int(y) for x, y in parts]


def test_nothing_times_anything_is_nothing():
    """(3) Where one operand is zero every product, digit and carry is 0, and no place has one."""
    _, _, da, db = pairs(20)
    for work in (worked(0 * da, db), worked(da, 0 * db)):
        assert not any(np.any(label) for label in work) and (work.kind == NONE).all()
    assert any(np.any(label) for label in worked(da, db))


def test_one_digit_that_is_not_zero_shifts_a_product():
    """(4) With b = d 10^i the answer is a times d, moved by i places; easy rows hold no others."""
    task = make_task("multiplication:digits=3,easy=1")
    asked = task.asks(0, 200)
    b = asked[:, 4:][:, ::-1]
    assert ((b != 0).sum(1) == 1).all() and set(b.argmax(1).tolist()) == {0, 1, 2}
    place, digit = b.argmax(1), b.max(1)
    found = task.work(asked).digits
    for row, shift, d, said in zip(asked[:, :3], place, digit, found):
        unit = worked(row[None, ::-1], np.array([[d]])).digits[0]
        assert np.array_equal(said, np.concatenate([np.zeros(shift, int), unit, np.zeros(2 - shift, int)]))
    assert repr(task.scored_on) == repr(make_task("multiplication:digits=3"))
    plain = (task.scored_on.asks(0, 400)[:, 4:] != 0).sum(1)
    mixed = (make_task("multiplication:digits=3,easy=0.45").asks(0, 4000)[:, 4:] != 0).sum(1)
    assert (plain == 1).mean() < 0.08 and 0.42 < (mixed == 1).mean() < 0.52


def test_the_unit_digit_depends_on_unit_digits_alone():
    """(5) Other digits change neither it nor its carry; the last place is the carry of the one before it, no more."""
    _, _, da, db = pairs(100)
    other_a, other_b = (np.concatenate([d[:, :1], 9 - d[:, 1:]], 1) for d in (da, db))
    one, other = worked(da, db), worked(other_a, other_b)
    for name in ("digits", "carry_out", "kind", "sums"):
        assert np.array_equal(getattr(one, name)[:, 0], getattr(other, name)[:, 0])
    assert not np.array_equal(one.digits[:, 1], other.digits[:, 1])
    assert not one.sums[:, -1].any() and np.array_equal(one.digits[:, -1], one.carry_out[:, -2])


def test_every_place_is_of_one_class():
    """(6) The classes of a row add up to its places, and so do the counts that the error is told by."""
    _, _, da, db = pairs(300)
    kind = worked(da, db).kind
    counts = np.stack([(kind == each).sum(1) for each in (NONE, PLAIN, CHAINED)])
    assert (counts.sum(0) == 10).all() and (counts.sum(1) > 0).all()
    task = make_task("multiplication:digits=3")
    examples = task.sample(0, 64)
    for each in task.slicings:
        asked = each.amounts(np.zeros(examples.targets.shape, bool), examples)[:, 1::2].sum()
        assert asked == 64 * (1 if each.name == "chained carries" else 6)


@pytest.mark.parametrize("answer", ["ordinary", "reversed"])
def test_a_slice_holds_the_digits_of_its_place(answer):
    """(6) One wrong digit is an error at its place and at the kind of carry that comes to it: 99 x 12 = 1188."""
    task = make_task(f"multiplication:digits=2,answer={answer}")
    examples = task._laid(row_of(task, 99, 12), task.replies(row_of(task, 99, 12)))
    wrong = examples.targets.copy()
    hundreds = 6 if answer == "ordinary" else 7
    assert wrong[0, hundreds] == 1
    wrong[0, hundreds] = 5
    found = task.figures(task.priced({"ids": wrong}, examples)[0].astype(float), 1.0)
    kinds = worked(np.array([[9, 9]]), np.array([[2, 1]])).kind[0].tolist()  # 18, 27 + 1, 9 + 2, 0 + 1
    assert kinds == [NONE, PLAIN, CHAINED, PLAIN]
    assert found["error at place 2"] == 1 and found["error at carry chained"] == 1 and found["error of a token"] == 0.25
    assert found["error at place 1"] == found["error at carry plain"] == 0 and found["error at chained carries 1"] == 1
    assert np.isnan(found["error at chained carries 0"])


def test_the_whole_product_must_be_right():
    """A row with one wrong digit is as wrong as one with none right."""
    task = make_task("multiplication:digits=3")
    examples = task.sample(1, 100)
    one = examples.targets.copy()
    one[:50, -1] = (one[:50, -1] + 1) % 10
    assert score(task, lambda _: one, examples) == 0.5
    assert score(task, task.predictors()["chance"], examples) > 0.98


def test_a_wrong_order_is_refused():
    with pytest.raises(by.UsageError, match="ordinary, reversed"):
        make_task("multiplication:answer=backwards")


@pytest.mark.parametrize("text", ["multiplication:digits=2", "multiplication:digits=2,answer=reversed"])
def test_a_model_is_right_exactly_where_it_writes_the_reply(text):
    """What greedy decoding writes behind a question is what the score takes for right."""
    hold_what_is_written(make_task(text))
