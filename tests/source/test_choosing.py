"""Which source reads what a user named."""

import pytest

import blockyard as by
from blockyard.source import read


def test_text_is_what_nothing_else_takes(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one line of a text that is long enough\n" * 200)
    data = read([str(file)])
    assert data.usually() == "next_token" and data.name == "a.txt"


def test_a_task_of_other_data_says_what_it_is_asked_of(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("text\n")
    with pytest.raises(by.UsageError, match=r"asked of nothing-like-it, and a\.txt is corpus"):
        read([str(file)], ("nothing-like-it",))
