"""Evaluation windows: every target exactly once, groups that add up, nothing dropped."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockyard.core.errors import UsageError
from blockyard.data import eval_windows, load_text
from blockyard.data.shards import Split


@st.composite
def splits(draw):
    """Ids that are their own places, each worth 1 to 6 bytes, in documents at random borders."""
    count = draw(st.integers(2, 500))
    sizes = np.array(draw(st.lists(st.integers(1, 6), min_size=1, max_size=10)))
    borders = draw(st.sets(st.integers(1, count - 1), max_size=12))
    tokens = np.arange(count, dtype="<u2")
    token_bytes = np.resize(sizes, count).astype(np.int64)
    return Split("test", tokens, np.array([0, *sorted(borders), count]), token_bytes, int(token_bytes.sum()), "")


@settings(max_examples=250, deadline=None)
@given(split=splits(), length=st.integers(1, 60), groups=st.integers(1, 40), size=st.integers(1, 7))
def test_every_target_once_in_its_group(split, length, groups, size):
    windows = eval_windows(split, length, groups)
    batches = list(windows.batches(size))
    tokens = np.concatenate([b.tokens for b in batches])
    valid = np.concatenate([b.valid for b in batches])
    group = np.concatenate([b.group for b in batches])
    assert tokens.shape == (len(windows), length + 1) and valid.shape == (len(windows), length)
    targets = tokens[:, 1:][valid]
    assert targets.tolist() == list(range(1, len(split)))
    assert (tokens[:, :-1][valid] == targets - 1).all()
    assert valid[:, 0].all() and (np.diff(valid.astype(int), axis=1) <= 0).all()
    assert (tokens[:, 1:][~valid] == 0).all()
    owners = np.broadcast_to(group[:, None], valid.shape)[valid]
    assert (np.diff(owners) >= 0).all() and set(owners) == set(range(windows.groups))
    counted = np.bincount(owners, split.token_bytes[targets])
    assert windows.bytes.tolist() == counted.tolist()
    assert windows.bytes.sum() == split.bytes - split.token_bytes[0]
    assert math.isclose(windows.weights.sum(), 1) and (windows.weights > 0).all()
    assert windows.groups <= max(1, min(groups, (len(split) - 1) // (length + 1)))
    assert (windows.note is None) == (windows.groups >= 8)
    for rank in range(3):
        mine = [b.tokens for b in windows.batches(size, rank, 3)]
        assert np.array_equal(np.concatenate(mine) if mine else tokens[:0], tokens[rank::3])


def plain(count: int, borders=()) -> Split:
    return Split("test", np.zeros(count, np.uint8), np.array([0, *borders, count]), np.ones(256, np.int64), count, "")


def test_groups_are_equal_without_borders_and_follow_borders_nearby():
    even = eval_windows(plain(32_001), 64)
    assert even.groups == 32 and set(even.bytes) == {1000} and even.note is None
    snapped = eval_windows(plain(32_001, borders=[990, 2100, 3500]), 64)
    assert snapped.first[snapped.group == 1][0] == 990 and snapped.first[snapped.group == 2][0] == 2100
    assert snapped.first[snapped.group == 3][0] == 3001
    assert snapped.groups == 32 and snapped.bytes.sum() == 32_000


def test_a_short_text_makes_fewer_groups_and_says_so():
    windows = eval_windows(plain(520), 128)
    assert windows.groups == 4 and "only 4 block groups" in str(windows.note)
    assert eval_windows(plain(2), 128).groups == 1
    with pytest.raises(UsageError, match="at least 2"):
        eval_windows(plain(1), 4)
    with pytest.raises(UsageError, match="at least 1"):
        eval_windows(plain(100), 0)


def test_bits_per_byte_of_a_uniform_code_is_eight():
    windows = eval_windows(plain(5000), 50, groups=10)
    nats = np.concatenate([b.valid.sum(1) * math.log(256) for b in windows.batches(16)])
    assert np.allclose(windows.bits_per_byte(nats), 8)
    assert math.isclose(windows.weights @ windows.bits_per_byte(nats), 8)


@pytest.mark.parametrize("codec", ["bytes", "bpe:500"])
def test_no_byte_of_a_real_test_split_is_dropped(tmp_path, words, codec):
    (tmp_path / "a.txt").write_text(words(200_000))
    split = load_text(tmp_path / "a.txt", codec=codec).test
    windows = eval_windows(split, 32)
    assert windows.groups == 32 and windows.bytes.sum() == split.bytes - split.token_bytes[split.tokens[0]]
    assert windows.bytes.max() - windows.bytes.min() <= 2 * split.token_bytes.max()
