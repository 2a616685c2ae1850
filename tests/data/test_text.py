"""Reading: what becomes a document, and what each mistake says."""

import bz2
import codecs
import gzip
import importlib
import io
import json
import lzma
import sys
from pathlib import Path

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
        ("text".encode("utf-16")[:-1], ["damaged", "UTF-16"]),
        (b"\x1f\x8b half of it", ["damaged", "unpacked"]),
        (gzip.compress(b"text" * 99, mtime=0)[:-9], ["damaged", "unpacked"]),
        (b"PAR1 no table", ["parquet"]),
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
        ('{"text": 7}', ["line 2", "int", "not text"]),
        ('{"text": "\\ud800"}', ["line 2", "surrogate"]),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, line, words):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    message = complaint(path)
    assert all(word in message for word in words)


def test_rows_without_text_are_passed_over_and_counted(tmp_path):
    values = [{"text": "a"}, {"text": None}, {"body": "b"}, {"text": ""}, {"text": "c"}]
    path = rows(tmp_path / "a.ndjson", values)
    texts = read_text(path)
    assert texts.documents == [b"a", b"c"] and texts.notes == (
        f"{path}: passed over 3 of 5 rows without text in 'text'",
    )
    message = complaint(f"{path}:bdy")
    assert "no column 'bdy'" in message and "columns seen: text" in message and "a.ndjson:COLUMN" in message


PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_files_are_read_by_what_they_are(tmp_path, ending):
    pack = PACKERS[ending]
    (tmp_path / f"a.txt.{ending}").write_bytes(pack(b"one\n") + pack(b"two\n"))  # two parts are one text
    (tmp_path / "no ending").write_bytes(pack(b"three"))
    (tmp_path / f"r.jsonl.{ending}").write_bytes(pack(b'{"body": "four"}\n'))
    assert read_text([tmp_path / f"a.txt.{ending}", tmp_path / "no ending"]).documents == [b"one\ntwo\n", b"three"]
    assert read_text(f"{tmp_path / f'r.jsonl.{ending}'}:body").documents == [b"four"]


def test_zstd_is_read_frame_by_frame_and_a_cut_one_is_refused(tmp_path):
    pack = pytest.importorskip("zstandard").ZstdCompressor().compress
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(pack(b'{"text": "one"}\n') + pack(b'{"text": "two"}\n'))
    assert read_text(path).documents == [b"one", b"two"]
    path.write_bytes(path.read_bytes()[:-3])
    assert "damaged" in complaint(path)


def test_parquet_is_read_by_column(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    table = arrow.table({"text": ["é", None, "", "b"], "id": [1, 2, 3, 4]})
    importlib.import_module("pyarrow.parquet").write_table(table, path, row_group_size=2)
    texts = read_text(path)
    assert texts.documents == ["é".encode(), b"b"] and "2 of 4 rows" in texts.notes[0]
    assert "columns seen: text, id" in complaint(f"{path}:body") and "holds int, not text" in complaint(f"{path}:id")


@pytest.mark.parametrize("name, content, library", [("a.parquet", b"PAR1", "pyarrow"),
                                                    ("a.zst", b"\x28\xb5\x2f\xfd", "zstandard")])  # fmt: skip
def test_what_needs_a_library_that_is_not_there_says_so(tmp_path, monkeypatch, name, content, library):
    monkeypatch.setattr("blockyard.data.formats.find_spec", lambda _: None)
    monkeypatch.setattr("blockyard.data.formats.sys.version_info", (3, 11))
    (tmp_path / name).write_bytes(content)
    message = complaint(tmp_path / name)
    assert f"{library} library: pip install 'blockyard[data]'" in message and "\n" not in message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_text_with_a_byte_order_mark_is_read(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("naïve ☕\r\n".encode(encoding))
    (tmp_path / "b.txt").write_bytes(codecs.BOM_UTF16_BE + "für".encode("utf-16-be"))
    assert read_text(tmp_path).documents == ["naïve ☕\r\n".encode(), "für".encode()]


def test_latin_1_is_named_with_the_mend(tmp_path):
    (tmp_path / "a.txt").write_bytes("déjà vu".encode("latin-1"))
    assert "0xe9 at offset 1" in complaint(tmp_path / "a.txt") and "iconv -f latin1" in complaint(tmp_path / "a.txt")


def test_one_file_among_many_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d.gz").write_bytes(b"\x1f\x8b no")
    rows(tmp_path / "e.jsonl", [{"id": 1}])
    whole = Path.read_bytes

    def read(path):
        if path.name == "b.txt":
            raise PermissionError(13, "Permission denied")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    texts = read_text(tmp_path)
    assert texts.documents == [b"a.txt", b"c.txt"]
    assert "b.txt (unreadable), d.gz (damaged), e.jsonl (no column 'text')" in texts.notes[0]
    with pytest.raises(UsageError, match=r"cannot read .*b\.txt: Permission denied"):
        read_text(tmp_path / "b.txt")


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
