"""Tables: what a file becomes, column by column, and what is said of one that is none."""

import datetime
import gzip
import json

import numpy as np
import pytest

from blockyard.core.errors import UsageError
from blockyard.data.table import MISSING
from blockyard.source import read
from blockyard.source import table as source


def made(folder, text, name="my.csv", wanted=("table",)):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read([str(path)], wanted)


DAYS = "when,price,shop\n2020-01-01 00:00:00,1.5,north\n2020-01-01 01:00:00,,south\n2020-01-01 02:00:00,2,\n"


def test_columns_are_numbers_times_and_words(tmp_path):
    table = made(tmp_path, DAYS, wanted=())
    assert list(table.columns) == ["when", "price", "shop"] and len(table) == 3
    assert table.time == "when" and table.usually() == "forecast" and list(table.numbers()) == ["price"]
    np.testing.assert_array_equal(table.columns["price"], [1.5, np.nan, 2.0])
    assert table.columns["when"][1] == np.datetime64("2020-01-01T01")
    assert table.columns["shop"].tolist() == ["north", "south", None]


def test_a_table_without_times_asks_for_a_task(tmp_path):
    with pytest.raises(UsageError, match=r"without a column of times.*\ncolumns: a, b; .*next_token"):
        made(tmp_path, "a,b\n1,x\n2,y\n").usually()


def test_the_same_cells_have_the_same_hash_in_every_file(tmp_path):
    plain = made(tmp_path, DAYS)
    packed = made(tmp_path, gzip.compress(DAYS.encode()), "my.csv.gz", wanted=())
    tabs = made(tmp_path, DAYS.replace(",", "\t"), "my.tsv", wanted=())
    wide = made(tmp_path, DAYS.encode("utf-16"))
    assert plain.hash == packed.hash == tabs.hash == wide.hash
    assert (
        made(tmp_path, DAYS.replace("1.5", "1.6")).hash != plain.hash != made(tmp_path, DAYS.replace("shop", "s")).hash
    )


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        ("2016-07-01 00:00:00,2016-07-01 01:00:00", "2016-07-01T00"),
        ("2016-07-01T00:00:30.5Z,2016-07-02T00:00:00Z", "2016-07-01T00:00:30.5"),
        ("2016-07-01T00:00:00+02:00,2016-07-02T00:00:00+02:00", "2016-06-30T22"),
        ("1990/1/1 0:00,1990/1/2 0:00", "1990-01-01"),
        ("31.12.2019,1.1.2020", "2019-12-31"),
        ("1/2/2020,2/1/2020", "2020-01-02"),
        ("13/1/2020,1/2/2020", "2020-01-13"),
    ],
)
def test_times_are_read_in_many_ways(tmp_path, cells, first):
    table = made(tmp_path, "t,x\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells.split(","))))
    assert table.time == "t" and table.columns["t"][0] == np.datetime64(first)


def test_what_is_no_time_is_a_word(tmp_path):
    table = made(tmp_path, "a,b,c\n2016-13-01,today,1-2-3\n2016-01-01,now,4-5-6\n")
    assert [cells.dtype.kind for cells in table.columns.values()] == ["O", "O", "O"]


def test_times_that_fall_are_turned_round(tmp_path):
    table = made(tmp_path, "t,x\n2020-01-03,3\n2020-01-02,2\n2020-01-01,1\n")
    assert table.columns["x"].tolist() == [1, 2, 3] and "turned round" in table.notes[0]
    mixed = made(tmp_path, "t,x\n2020-01-03,3\n2020-01-05,2\n2020-01-01,1\n")
    assert mixed.time is None and mixed.columns["t"].dtype.kind == "M"


def test_decimal_commas_where_commas_part_no_cells(tmp_path):
    table = made(tmp_path, "a;b\n1,5;x\n2;y, z\n")
    assert table.columns["a"].tolist() == [1.5, 2.0] and table.columns["b"].tolist() == ["x", "y, z"]


def test_missing_numbers_and_quoted_cells(tmp_path):
    cells = [each for each in sorted(MISSING) if each]
    table = made(tmp_path, 'a,b\n7,"x ""y"",\nz"\n' + "".join(f"{each.upper()},{each}\n" for each in cells))
    assert np.isnan(table.columns["a"][1:]).all() and table.columns["a"][0] == 7
    assert table.columns["b"].tolist() == ['x "y",\nz', *cells]  # a word may be none, or a question mark


def test_without_a_row_of_names_columns_are_numbered(tmp_path):
    table = made(tmp_path, "0.5,1\n0.6,2\n")
    assert list(table.columns) == ["1", "2"] and len(table) == 2 and "no row of names" in table.notes[0]
    assert list(made(tmp_path, ",a\n0,5\n").columns) == ["column 1", "a"]


def test_a_column_that_changes_its_kind_late_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PIECE", 2)
    table = made(tmp_path, "id,x\n007,1\n008,2\n009,3\nten,4\n011,5\n")
    assert table.columns["id"].tolist() == ["007", "008", "009", "ten", "011"]
    assert table.columns["x"].tolist() == [1, 2, 3, 4, 5]


def test_objects_a_line(tmp_path):
    lines = [{"t": "2020-01-01", "x": 1}, {"t": "2020-01-02", "y": "b"}, {"t": "2020-01-03", "x": 2.5, "y": None}]
    table = made(tmp_path, "\n".join(map(json.dumps, lines)), "my.jsonl")
    assert table.time == "t" and table.columns["y"].tolist() == [None, "b", None]
    np.testing.assert_array_equal(table.columns["x"], [1, np.nan, 2.5])


def test_parquet(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    when = np.array(["2020-01-01", "2020-01-02"], "M8[s]")
    columns = {"t": when, "x": [1, None], "w": ["a", None], "yes": [True, False], "many": [[1], [2]]}
    parquet.write_table(arrow.table(columns), tmp_path / "my.parquet")
    table = read([str(tmp_path / "my.parquet")], ["table"])
    assert table.time == "t" and list(table.columns) == ["t", "x", "w", "yes"] and "many" in table.notes[0]
    np.testing.assert_array_equal(table.columns["x"], [1, np.nan])
    assert table.columns["w"].tolist() == ["a", None] and table.columns["yes"].tolist() == ["True", "False"]
    zone, clock = arrow.timestamp("ns", "Europe/Berlin"), [datetime.time(1), datetime.time(23, 30)]
    parquet.write_table(arrow.table({"t": arrow.array([0, 10**9], zone), "clock": clock}), tmp_path / "my.parquet")
    table = read([str(tmp_path / "my.parquet")], ["table"])
    assert table.columns["t"].tolist() == [datetime.datetime(1970, 1, 1), datetime.datetime(1970, 1, 1, 0, 0, 1)]
    assert table.columns["clock"].tolist() == ["01:00:00", "23:30:00"]
    parquet.write_table(arrow.table({"x": [0.5, -np.inf]}), tmp_path / "my.parquet")
    with pytest.raises(UsageError, match=r"my.parquet row 2: column x holds a number that is infinite"):
        read([str(tmp_path / "my.parquet")], ["table"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"bad.parquet is damaged"):
        read([str(tmp_path / "bad.parquet")], ["table"])


def test_text_is_a_table_only_where_a_task_asks_for_one(tmp_path):
    rows = "\n".join(json.dumps({"text": f"line {i} of a text that is long enough to be one"}) for i in range(40))
    assert type(made(tmp_path, rows, "my.jsonl", ())).__name__ == "Corpus"
    assert len(made(tmp_path, "1,2\n3,4\n", "my.txt")) == 2


WRONG = {
    "abc": "my.csv has nothing but a row of names: abc",
    "": "my.csv is empty",
    " \n\n": "my.csv is empty",
    "a,b\n1,2\n\n1,2,3\n": "my.csv line 4 has 3 cells, and the first row has 2",
    "a,b\n1\n": "my.csv line 2 has 1 cell, and the first row has 2",
    "a,b,a\n1,2,3\n": "columns 1 and 3 are both called a",
    b"a,b\n\xe4,2\n": "is not UTF-8: byte 0xe4",
    b"a,\0\n": "is binary",
    b"\x1f\x8b\x08no": "is damaged, it cannot be unpacked",
}


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_what_is_no_table_is_told_in_a_line(tmp_path, text):
    with pytest.raises(UsageError) as told:
        made(tmp_path, text)
    assert WRONG[text] in str(told.value) and "\n" not in str(told.value)


def test_paths_that_are_no_file(tmp_path):
    (tmp_path / "prices.csv").write_text("a\n1\n")
    for paths, said in (
        ([tmp_path / "price.csv"], "did you mean .*prices.csv"),
        ([tmp_path], "is a folder"),
        ([tmp_path / "prices.csv", tmp_path / "b.csv"], "a table is one file, and 2 are named"),
    ):
        with pytest.raises(UsageError, match=said):
            read([str(path) for path in paths], ["table"])


def test_objects_with_a_list_in_a_cell(tmp_path):
    with pytest.raises(UsageError, match="line 2: column 'a' holds a list"):
        made(tmp_path, '{"a": 1}\n{"a": [1]}\n', "my.jsonl")


@pytest.mark.parametrize(
    "times, says",
    [
        (("2020-01-01", "02/01/2020", "2020-01-03"), r"row 2: column t holds '02/01/2020' among times"),
        (("2020-01-01", "", "2020-01-03"), r"row 2: column t is empty"),
        (("2020-01-01", "2020-01-03", "2020-01-02"), r"row 3: column t is earlier than in row 2"),
    ],
)
def test_what_keeps_a_column_from_being_the_times_is_said(tmp_path, times, says):
    rows = "".join(f"{time},{i}.5\n" for i, time in enumerate(times))
    with pytest.raises(UsageError, match=rf"without a column of times \({says}\): say what"):
        made(tmp_path, f"t,b\n{rows}").usually()
    with pytest.raises(UsageError, match="without a column of times: say what"):  # words are no times gone wrong
        made(tmp_path, "a,b\nmay,1\nnone,2\nlate,3\n").usually()
