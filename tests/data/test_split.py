"""The split: nothing lost, nothing twice, about the shares asked, the same every time."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockyard.core.errors import UsageError
from blockyard.data.split import split_documents


def test_documents_are_split_whole_by_their_content():
    rng = random.Random(1)
    documents = [rng.randbytes(rng.randint(50, 500)).hex().encode() for _ in range(400)]
    parts = split_documents(documents)
    total = sum(map(len, documents))
    assert parts.by == "document"
    assert sorted(parts.train + parts.tune + parts.test) == sorted(documents)
    for held_out in (parts.tune, parts.test):
        assert abs(sum(map(len, held_out)) / total - 0.05) < 0.005
    assert [d for d in documents if d in set(parts.train)] == parts.train
    shuffled = split_documents(documents[::-1])
    assert set(shuffled.test) == set(parts.test) and set(shuffled.tune) == set(parts.tune)


def test_equal_documents_stay_together():
    documents = [f"document {n % 40}".encode() for n in range(400)]
    parts = split_documents(documents)
    assert parts.by == "document"
    assert not set(parts.train) & set(parts.test) and not set(parts.train) & set(parts.tune)


def test_few_or_uneven_documents_are_cut_by_position():
    few = [b"line\n" * 200] * 19
    uneven = [b"x" * 100_000, *(f"tiny {n}".encode() for n in range(40))]
    for documents in (few, uneven, [b"same text\n"] * 300):
        parts = split_documents(documents)
        assert parts.by == "position"
        assert b"".join(parts.train + parts.tune + parts.test) == b"".join(documents)


def test_one_long_text_is_cut_after_newlines_nearby():
    text = b"".join(b"line %d\n" % n for n in range(2000))
    parts = split_documents([text], (0.8, 0.1, 0.1))
    assert parts.train[0].endswith(b"\n") and parts.tune[0].endswith(b"\n")
    assert abs(len(parts.train[0]) / len(text) - 0.8) < 0.001 and abs(len(parts.test[0]) / len(text) - 0.1) < 0.001


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=40),
    st.sampled_from([(0.9, 0.05, 0.05), (0.2, 0.4, 0.4)]),
)
def test_every_byte_is_in_one_split_and_characters_stay_whole(texts, fractions):
    documents = [t.encode("utf-8", "replace") for t in texts]
    try:
        parts = split_documents(documents, fractions)
    except UsageError as error:
        assert "would be empty" in str(error) and sum(map(len, documents)) < 100
        return
    assert sum(map(len, parts.train + parts.tune + parts.test)) == sum(map(len, documents))
    assert parts.train and parts.tune and parts.test
    for document in parts.train + parts.tune + parts.test:
        document.decode("utf-8")


@pytest.mark.parametrize("fractions", [(1.0, 0.0, 0.0), (0.5, 0.5), (0.9, 0.2, -0.1)])
def test_fractions_are_checked(fractions):
    with pytest.raises(UsageError, match="three positive numbers"):
        split_documents([b"text" * 1000], fractions)


def test_held_out_documents_stand_in_the_order_of_their_hash():
    """In reading order neighbours on the test text would share a topic, and its groups would not be independent."""
    documents = [f"chapter {i} of the book {i // 50}. ".encode() * 20 for i in range(400)]
    parts = split_documents(documents, (0.6, 0.2, 0.2))
    assert parts.by == "document" and parts.train == [d for d in documents if d in set(parts.train)]
    for held in (parts.tune, parts.test):
        place = [documents.index(d) for d in held]
        assert len(place) > 50 and abs(np.corrcoef(place[1:], place[:-1])[0, 1]) < 0.3
