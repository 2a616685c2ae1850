"""Files of series as people have them: each is read right, or refused in a line that names row and column."""

import numpy as np
import pytest

from blockyard.core.errors import UsageError
from blockyard.source import read
from blockyard.task import make_task

ROWS = 120


def day(i):
    return str(np.datetime64("2024-01-01") + i)


def table(*, rows=ROWS, header=("when", "x", "y"), mark=",", when=day, cell=lambda i, k: f"{(i * (k + 3)) % 7 + 0.5}"):
    lines = [list(header), *([when(i), *(cell(i, k) for k in range(len(header) - 1))] for i in range(rows))]
    return "\n".join(mark.join(line) for line in lines) + "\n"


def spoilt(row, text, column=1):
    """The table with one cell replaced; rows count from 1."""
    lines = [line.split(",") for line in table().splitlines()]
    lines[row][column] = text
    return "\n".join(",".join(line) for line in lines)


def lines(change):
    return "\n".join(change(table().splitlines()))


def asked(folder, text, task="forecast:horizon=3,length=9"):
    path = folder / "my.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return make_task(task).material(read([str(path)], ("table",)))


REFUSED = {
    "parted by spaces": (table(mark=" "), "no column of numbers to forecast, only 'when x y'; commas, semicolons"),
    "parted by two marks": (lines(lambda rows: [*rows[:5], rows[5].replace(",", ";"), *rows[6:]]),
                            "my.csv line 6 has 1 cell, and the first row has 3"),
    "a decimal comma between commas": (spoilt(4, "1,5"), "my.csv line 5 has 4 cells, and the first row has 3"),
    "points of thousands": (table(mark=";", cell=lambda i, k: "1.234,5"), "row 1: column x holds '1.234,5'"),
    "a word among numbers": (spoilt(7, "n.a.", 2), "row 7: column y holds 'n.a.' among numbers"),
    "a unit behind a number": (spoilt(7, "3.5 kg"), "row 7: column x holds '3.5 kg' among numbers"),
    "an infinity": (spoilt(8, "inf"), "my.csv line 9: column x holds inf, which is infinite"),
    "a number that is too large": (spoilt(8, "-1e999", 2), "my.csv line 9: column y holds -1e999, which is infinite"),
    "a time that comes twice": (lines(lambda rows: [*rows[:6], *rows[5:]]), "row 6: column when is 2024-01-05"),
    "a time that falls": (lines(lambda rows: [*rows[:6], rows[3], *rows[6:]]), "row 6: column when is 2024-01-03"),
    "no time in a row": (spoilt(5, "", 0), "row 5: column when is empty"),
    "columns that never change": (table(cell=lambda i, k: "4"), "x, y never changes, so there is nothing to forecast"),
    "one row": (table(rows=1), "do not fit into 1 rows to train on"),
    "no row": (table(rows=0), "nothing but a row of names: when, x, y"),
    "three bytes": (b"abc", "nothing but a row of names: abc"),
    "three figures": (b"1,2", "do not fit into 1 rows"),
    "a mark of bytes alone": (b"\xef\xbb\xbf", "my.csv is empty"),
    "three bytes of a packed file": (b"\x1f\x8b\x08", "is damaged, it cannot be unpacked"),
    "three bytes of no text": (b"\xff\x00\xfe", "my.csv is not UTF-8"),
    "two columns of one name": (table(header=("when", "x", "x")), "columns 2 and 3 are both called x"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_line(tmp_path, case):
    text, says = REFUSED[case]
    with pytest.raises(UsageError) as told:
        asked(tmp_path, text)
    assert says in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 250


NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def as_words(form):
    def when(i):
        year, month, date = day(i).split("-")
        return form.format(y=year, m=month, d=date, n=NAMES[int(month) - 1])

    return when


FORMS = ["{y}-{m}-{d}", "{y}/{m}/{d} 00:00", "{d}.{m}.{y}", "{m}/{d}/{y}", "{d} {n} {y}", "{d}-{n}-{y}",
         '"{n} {d}, {y}"', "{y}{m}{d}", "{y}-{m}-{d}T00:00:00+00:00"]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_dates_are_read_however_they_are_written(tmp_path, form):
    made = asked(tmp_path, table(when=as_words(form)))
    assert made.step.seconds == 86400 and made.season == 7 and made.series.names == ["x", "y"]
    found = read([str(tmp_path / "my.csv")], ("table",))
    np.testing.assert_array_equal(found.columns["when"], np.array([day(i) for i in range(ROWS)], "M8[us]"))


def test_months_are_read_and_are_a_step(tmp_path):
    made = asked(tmp_path, table(when=lambda i: str(np.datetime64("2014-01") + i)))
    assert made.step.months == 1 and made.season == 12 and not any("do not follow" in note for note in made.notes)


def test_eight_figures_that_are_no_days_are_numbers(tmp_path):
    made = asked(tmp_path, table(cell=lambda i, k: f"{20240101 + i}"))
    assert made.series.names == ["x", "y"]


def test_decimal_commas_between_semicolons(tmp_path):
    plain = asked(tmp_path, table())
    commas = asked(tmp_path, table(mark=";", cell=lambda i, k: f"{(i * (k + 3)) % 7 + 0.5}".replace(".", ",")))
    np.testing.assert_array_equal(plain.series.truth, commas.series.truth)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_marks_between_cells(tmp_path, mark):
    assert asked(tmp_path, table(mark=mark)).hash == asked(tmp_path, table()).hash


def test_rows_that_are_missing_are_put_in_as_empty(tmp_path):
    whole, holes = asked(tmp_path, table()), asked(tmp_path, lines(lambda rows: rows[:40] + rows[43:]))
    assert holes.series.ends == whole.series.ends and "3 of 120 rows are missing, 1 day apart" in "\n".join(holes.notes)
    assert np.isnan(holes.series.truth[39:42]).all() and not np.isnan(holes.series.truth[42:]).any()
    assert (holes.series.filled[39:42] == holes.series.filled[38]).all() and holes.hash != whole.hash


def test_weekends_that_no_row_has_are_no_gaps(tmp_path):
    days = [i for i in range(168) if np.is_busday(np.datetime64("2024-01-01") + i)]
    made = asked(tmp_path, table(when=lambda i: day(days[i])))
    assert made.step.weekdays and made.season == 5 and made.series.ends[2] == ROWS and not made.notes


def test_many_rows_that_are_missing_stay_away(tmp_path):
    hours = [f"2024-01-{1 + i // 8:02} {9 + i % 8:02}:00" for i in range(ROWS)]
    made = asked(tmp_path, table(when=lambda i: hours[i]))
    assert made.series.ends[2] == ROWS and "14 of 119 rows do not follow the one before after 1 hour" in made.notes[0]


def test_a_constant_column_beside_others_harms_nothing(tmp_path):
    made = asked(tmp_path, table(cell=lambda i, k: "4" if k else f"{i % 7}"))
    assert np.isfinite(made.series.filled).all() and made.series.scale[1] == 1 and not made.series.truth[:, 1].any()
    assert all(np.isfinite(values).all() for values in made.references("final").values())


def test_a_header_of_very_many_columns(tmp_path):
    header = ["when", *(f"x{i}" for i in range(1000))]
    made = asked(tmp_path, table(header=header, rows=60, cell=lambda i, k: str((i + k) % 7)))
    assert made.series.asked == 1000 and made.series.filled.shape == (60, 1000)
    many = ",".join(map(str, range(50_000))) + ",7\n"
    with pytest.raises(UsageError, match=r"columns 8 and 50001 are both called 7"):
        asked(tmp_path, "a" + many + many)


def test_an_empty_cell_of_a_spreadsheet_is_no_word(tmp_path):
    made = asked(tmp_path, spoilt(7, "#N/A"))
    assert made.series.names == ["x", "y"] and np.isnan(made.series.truth[6, 0])
