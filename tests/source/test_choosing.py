"""Which source reads what a user named."""

import pytest

import blockyard as by
from blockyard.compare.plan import dataset
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


def test_data_of_a_name_stay_what_they_were_when_a_folder_of_that_name_appears(tmp_path, monkeypatch):
    """A comparison may be told to leave its results in a folder of that name."""
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    before = dataset.chosen(None, ("digits",), "bytes")
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "result.txt").write_text("some text\n" * 50)
    assert dataset.named(before).name == "digits" and len(dataset.named(before).ends.settings) > 1
    now = dataset.chosen(None, ("digits",), "bytes")  # what is there is meant now
    assert now.paths == [str(tmp_path / "digits")]
