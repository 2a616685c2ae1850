"""The training order: a pure function of seed and step, without replacement, shared out exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockyard.core.errors import UsageError
from blockyard.data import TrainOrder
from blockyard.data.shards import Split


def ladder(count: int) -> Split:
    """A split whose ids are their own places."""
    tokens = np.arange(count, dtype="<u4")
    return Split("train", tokens, np.array([0, count]), np.ones(count, np.int64), count, "")


SHAPES = dict(
    count=st.integers(2, 400), length=st.integers(1, 40), batch=st.integers(1, 9), seed=st.integers(-5, 2**70)
)


@settings(max_examples=150, deadline=None)
@given(**SHAPES, steps=st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_a_step_is_the_same_whatever_was_asked_before(count, length, batch, seed, steps):
    if count <= length:
        return
    used = TrainOrder(ladder(count), length, batch, seed)
    for step in steps:
        rows = used.next(step)
        assert rows.shape == (batch, length + 1) and rows.dtype == np.int64
        assert np.array_equal(rows, TrainOrder(ladder(count), length, batch, seed).next(step))
        assert (np.diff(rows, axis=1) % count == 1 % count).all()  # windows are runs of the ring


@settings(max_examples=100, deadline=None)
@given(**SHAPES, epoch=st.integers(0, 3))
def test_an_epoch_repeats_no_input_and_misses_less_than_a_window(count, length, batch, seed, epoch):
    if count <= length:
        return
    order = TrainOrder(ladder(count), length, batch, seed)
    first, last = epoch * order.windows, (epoch + 1) * order.windows
    rows = np.concatenate([order.next(step) for step in range(first // batch, -(-last // batch))])
    rows = rows[first - first // batch * batch :][: order.windows]
    seen, times = np.unique(rows[:, :-1], return_counts=True)
    assert (times == 1).all() and count - len(seen) < length


@settings(max_examples=60, deadline=None)
@given(**SHAPES, world=st.integers(1, 5), step=st.integers(0, 50))
def test_processes_share_a_batch_by_rows(count, length, batch, seed, world, step):
    if count <= length:
        return
    order = TrainOrder(ladder(count), length, batch, seed)
    whole = order.next(step)
    for rank in range(world):
        mine = TrainOrder(ladder(count), length, batch, seed).next(step, rank, world)
        assert np.array_equal(mine, whole[rank::world])


def test_seeds_and_epochs_give_other_orders_and_phases():
    split = ladder(10_000)
    a, b = TrainOrder(split, 10, 100, 0), TrainOrder(split, 10, 100, 1)
    assert not np.array_equal(a.next(0), b.next(0))
    first, second = (np.concatenate([a.next(s) for s in range(e * 10, e * 10 + 10)])[:, 0] for e in (0, 1))
    assert not np.array_equal(first, second)
    assert len({int(a.next(10 * e)[0, 0]) % 10 for e in range(20)}) > 4


def test_the_order_never_changes_between_versions():
    assert TrainOrder(ladder(1000), 7, 4, 3).next(40)[:, 0].tolist() == [34, 971, 852, 202]


def test_a_text_shorter_than_a_window_is_refused_with_the_length_needed():
    with pytest.raises(UsageError, match=r"5 tokens, a length of 8 needs 9"):
        TrainOrder(ladder(5), 8, 1, 0)
    with pytest.raises(UsageError, match="at least 1"):
        TrainOrder(ladder(5), 2, 0, 0)
    with pytest.raises(ValueError, match="rank 2"):
        TrainOrder(ladder(50), 2, 2, 0).next(0, rank=2, world=2)
    assert TrainOrder(ladder(50), 2, 2, 0).state() == {}
