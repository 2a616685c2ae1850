"""Reading: what becomes a document, and what each mistake says."""

import io
import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockyard.core.errors import UsageError
from blockyard.data import load_text
from blockyard.data.text import read_text


def complaint(*args, **settings) -> str:
    """The message of the UsageError that loading raises: at most two lines."""
    with pytest.raises(UsageError) as caught:
        load_text(*args, **settings)
    message = str(caught.value)
    assert message and message.count("\n") <= 1
    return message


def rows(path, values):
    path.write_text("".join(json.dumps(v) + "\n" for v in values))
    return path


def test_a_file_is_one_document_and_keeps_its_bytes(tmp_path):
    data = "one\r\ntwo\u2028three\n".encode()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + data)
    assert read_text(tmp_path / "a.txt").documents == [data]


def test_several_files_keep_the_order_given_and_a_repeat_is_read_once(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name * 3)
    texts = read_text([tmp_path / "b", str(tmp_path / "a"), f"{tmp_path}/./b"])
    assert texts.documents == [b"bbb", b"aaa"]
    assert texts.name == "b and 2 more" and "named twice" in texts.notes[0]


def test_a_folder_is_read_sorted_and_names_what_it_passed_over(tmp_path):
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("hidden")
    (tmp_path / ".hidden").write_text("hidden")
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    (tmp_path / "sub" / "deep" / "c.py").write_text("three")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    rows(tmp_path / "z.jsonl", [{"text": "four"}, {"text": "five"}])
    texts = read_text(tmp_path)
    assert texts.documents == [b"one", b"two", b"three", b"four", b"five"]
    assert "2 hidden files" in texts.notes[0]
    assert "image.png (binary)" in texts.notes[1] and "latin.txt (not UTF-8)" in texts.notes[1]


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped text")))
    assert read_text("-") == ("standard input", [b"piped text"], ())


def test_jsonl_rows_are_documents_and_the_column_may_be_named(tmp_path):
    values = [{"text": "é\n", "body": "x"}, {"text": "", "body": "y"}, {"text": "b", "body": "z"}]
    path = rows(tmp_path / "a.jsonl", values)
    assert read_text(path).documents == ["é\n".encode(), b"b"]
    assert read_text(path, "body").documents == [b"x", b"y", b"z"]
    assert read_text(f"{path}:body").documents == [b"x", b"y", b"z"]


def test_a_missing_path_names_its_neighbours(tmp_path):
    (tmp_path / "shakespeare.txt").write_text("to be")
    message = complaint(tmp_path / "shakspeare.txt")
    assert "no such file" in message and f"did you mean {tmp_path / 'shakespeare.txt'}?" in message
    assert "there is no folder" in complaint(tmp_path / "nowhere" / "a.txt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b" \n\n", ["empty"]),
        (b"abc", ["3 bytes", "1000 needed"]),
        (b"text\0more", ["binary", "offset 4"]),
        (b"caf\xe9 au lait", ["not UTF-8", "0xe9", "offset 3"]),
        ("text".encode("utf-16"), ["UTF-16", "UTF-8"]),
    ],
)
def test_unfit_files_say_what_is_wrong_and_leave_nothing(tmp_path, cache, content, words):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    message = complaint(path)
    assert "notes.txt" in message and all(word in message for word in words)
    assert not list(cache.rglob("*"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "cut', ["line 2", "not JSON"]),
        ("[" * 100_000, ["line 2", "not JSON"]),
        ("[1, 2]", ["line 2", "not a JSON object"]),
        ('{"body": "b", "id": 3}', ["line 2", "'text'", "body, id", "a.jsonl:COLUMN"]),
        ('{"text": 7}', ["line 2", "int", "not text"]),
        ('{"text": "\\ud800"}', ["line 2", "surrogate"]),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, line, words):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    message = complaint(path)
    assert all(word in message for word in words)


def test_other_mistakes(tmp_path, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text(words(5000))
    assert "no text in folder" in complaint(tmp_path / "empty")
    assert "no row has text" in complaint(rows(tmp_path / "a.jsonl", [{"text": ""}]))
    assert "unknown codec 'byte'; did you mean bytes?" in complaint(tmp_path / "a.txt", codec="byte")
    assert "257" in complaint(tmp_path / "a.txt", codec="bpe:20")
    assert "bpe:4096" in complaint(tmp_path / "a.txt", codec="bpe:many")
    assert "sum to 1" in complaint(tmp_path / "a.txt", fractions=(0.9, 0.1, 0.1))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(lambda s: s.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_bytes(content)
        try:
            assert b"".join(read_text(tmp_path / name).documents)
        except UsageError as error:
            assert name in str(error)
