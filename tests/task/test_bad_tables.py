"""Tables as people have them: read right with a word on what is odd, or refused in two lines that say where."""

import numpy as np
import pytest

from blockyard.core.errors import UsageError
from blockyard.source import read
from blockyard.task import make_task

ROWS = 60


def lines_of(rows=ROWS, **columns):
    """Lines of a table with `age`, `port` and `kind`, and these columns beside."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 2, rows)
    made = {
        "age": [f"{x:.2f}" for x in draw.normal(40 + 9 * label, 9)], "port": draw.choice(["north", "south"], rows),
        **columns, "kind": [("no", "yes")[k] for k in label],
    }  # fmt: skip
    return [[*made], *map(list, zip(*made.values()))]


def made(tmp_path, lines, task="table:target=kind", mark=",", name="my.csv"):
    """The material of a file of these lines, or of this text."""
    text = lines if isinstance(lines, str) else "\n".join(mark.join(line) for line in lines) + "\n"
    (tmp_path / name).write_text(text)
    return make_task(task).material(read([str(tmp_path / name)], ("table",)))


def columns(material):
    return [column.name for column in material.found.columns]


def with_cell(row, column, cell, lines=None):
    """The lines with another cell in a row, counted from 1."""
    lines = lines or lines_of()
    lines[row][lines[0].index(column)] = cell
    return lines


def test_decimal_commas_are_numbers_where_commas_part_no_cells(tmp_path):
    plain = made(tmp_path, lines_of())
    commas = made(tmp_path, [[cell.replace(".", ",") for cell in line] for line in lines_of()], mark=";")
    np.testing.assert_array_equal(commas.found.cells, plain.found.cells)


def test_quoted_decimal_commas_between_commas_are_told(tmp_path):
    lines = [[f'"{cell.replace(".", ",")}"' for cell in line] for line in lines_of()]
    found = made(tmp_path, lines)
    assert any(
        "my.csv row 1: column age holds '" in note and "among numbers: the column is" in note for note in found.notes
    )


def test_a_word_among_numbers_is_told_with_row_and_column(tmp_path):
    found = made(tmp_path, with_cell(17, "age", "about 40"))
    assert "my.csv row 17: column age holds 'about 40' among numbers: the column is read as words" in found.notes
    assert not any("among numbers" in note for note in made(tmp_path, with_cell(17, "age", "n/a")).notes)  # it is empty
    assert not any("among numbers" in note for note in made(tmp_path, with_cell(17, "port", "7")).notes)


def test_a_word_among_numbers_that_are_asked_is_refused(tmp_path):
    lines = with_cell(23, "age", "4o", with_cell(2, "age", ""))
    with pytest.raises(UsageError, match=r"^my.csv row 23: column age holds '4o' among numbers; write a number"):
        made(tmp_path, lines, "table:target=age")


def test_constant_empty_and_all_different_columns_are_left_out_and_told(tmp_path):
    ids = [f"p-{i:03}" for i in range(ROWS)]
    found = made(tmp_path, lines_of(same=["7"] * ROWS, one=["x"] * ROWS, none=[""] * ROWS, id=ids))
    assert columns(found) == ["age", "port"]
    said = " ".join(found.notes)
    for part in (
        "same, one is the same in every row",
        "none has no cell to train on",
        "id has another word in every row",
    ):
        assert part in said, said


def test_numbers_that_count_the_rows_are_told(tmp_path):
    found = made(
        tmp_path, lines_of(id=[str(i) for i in range(101, 101 + ROWS)], other=[str(3 * i) for i in range(ROWS)])
    )
    assert columns(found) == ["age", "port", "id", "other"]
    assert "'id': counts the rows of the file, and is read as a number; drop= leaves it out" in found.notes
    assert columns(made(tmp_path, lines_of(id=[str(i) for i in range(ROWS)]), "table:target=kind,drop=id")) == [
        "age",
        "port",
    ]


def test_rows_in_order_of_their_class_give_it_away_by_their_number(tmp_path):
    lines = lines_of()
    lines = [
        ["id", *lines[0]],
        *([str(i), *line] for i, line in enumerate(sorted(lines[1:], key=lambda each: each[-1]))),
    ]
    found = made(tmp_path, lines)
    assert "id" not in columns(found) and any(note.startswith("id gives kind away") for note in found.notes)


def test_dates_are_days(tmp_path):
    days = [str(np.datetime64("2020-01-31") + 3 * (i * 37 % ROWS)) for i in range(ROWS)]
    found = made(tmp_path, lines_of(seen=days))
    values = found.found.cells[:, columns(found).index("seen")]
    gaps = np.array([np.datetime64(day).astype(int) for day in days], float)
    assert np.corrcoef(values, gaps)[0, 1] == pytest.approx(1, abs=1e-6)
    assert np.isnan(made(tmp_path, with_cell(4, "seen", "", lines_of(seen=days))).found.cells[3]).sum() == 1


REFUSED = {
    "three bytes": ("abc", "table:target=kind", "has nothing but a row of names: abc"),
    "no bytes": ("", "table:target=kind", "my.csv is empty"),
    "twice": ("a,b,a\n1,2,3\n", "table:target=a", "columns 1 and 3 are both called a"),
    "ragged": ([*lines_of()[:9], ["1", "2"]], "table:target=kind", "my.csv line 10 has 2 cells, and the first"),
    "infinite": (with_cell(3, "age", "-inf"), "table:target=kind", "my.csv line 4: column age holds -inf"),
    "too large": (with_cell(3, "age", "1e999"), "table:target=kind", "line 4: column age holds 1e999"),
    "one class": ([[*line[:-1], "yes" if i else "kind"] for i, line in enumerate(lines_of())], "table:target=kind",
                  "kind is yes in every row, so there is nothing to predict"),
    "a class a row": (lines_of(id=[f"p{i}" for i in range(ROWS)]), "table:target=id",
                      "id has 60 different cells in 60 rows: too many for classes"),
    "few rows": (lines_of(12), "table:target=kind", "12 rows with a cell in kind: too few"),
    "nothing left": ([[line[-1]] for line in lines_of()], "table:target=kind", "no column is left to predict kind"),
    "another name": (lines_of(), "table:target=knid", "unknown column of my.csv 'knid'; did you mean kind"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_in_two_lines_that_say_where(tmp_path, case):
    lines, task, says = REFUSED[case]
    with pytest.raises(UsageError) as told:
        made(tmp_path, lines, task)
    assert says in str(told.value) and len(str(told.value).splitlines()) <= 2 and len(str(told.value)) < 300


def test_a_million_columns_are_a_line_and_no_wait(tmp_path):
    wide = ",".join(map(str, range(10**6)))
    with pytest.raises(UsageError, match=r"^my.csv has 1,000,001 columns, and 65,536 are the most that are read"):
        made(tmp_path, f"{wide},kind\n{wide},no\n")
    fewer = ",".join(map(str, range(5000)))
    with pytest.raises(UsageError, match=r"^my.csv has 5,000 columns to read, and 4,096 are the most$"):
        made(tmp_path, f"{fewer},kind\n{fewer},no\n")


@pytest.mark.parametrize("mark, told", [("/", True), (".", False)])
def test_days_that_could_be_months_are_told_where_a_model_is_to_train_on_them(tmp_path, mark, told):
    days = [f"{1 + i % 9:02}{mark}{1 + i % 7:02}{mark}2020" for i in range(ROWS)]
    notes = " ".join(made(tmp_path, lines_of(when=days)).notes)
    assert (f"my.csv: 01{mark}01{mark}2020 in column when can be two days; the month is taken" in notes) is told
    days[40] = f"13{mark}02{mark}2020"  # which no month is
    assert "two days" not in " ".join(made(tmp_path, lines_of(when=days)).notes)
    days[40] = f"02{mark}13{mark}2020" if told else days[40]
    assert "two days" not in " ".join(made(tmp_path, lines_of(when=days)).notes)


@pytest.mark.parametrize("mark, other", [(".", ","), (",", ".")])
def test_marks_that_may_part_thousands_are_told_where_another_column_has_the_other_one(tmp_path, mark, other):
    large, small = [f"{1 + i}{mark}{100 + i}" for i in range(ROWS)], [f"{i}{other}5" for i in range(ROWS)]

    def told(**more):
        lines = lines_of(**more)
        for line in lines[1:]:
            line[0] = line[0].replace(".", other)
        return " ".join(made(tmp_path, lines, mark=";").notes)

    says = f"my.csv: 1{mark}100 in column large is read as 1.1, although decimals of column "
    assert says in told(large=large, small=small)
    assert "although" not in told(large=[f"{cell}9" for cell in large], small=small)  # four figures part no thousands


def test_a_currency_before_a_number_is_a_word_among_numbers(tmp_path):
    for cell in ("$4.50", "-$4.50", "4.50€"):
        notes = " ".join(made(tmp_path, lines_of(price=[cell, "1.5", "$2"] * 20)).notes)
        assert f"row 1: column price holds '{cell}' among numbers: the column is read as words" in notes


def test_days_that_are_asked_are_numbers_however_few(tmp_path):
    """Classes would be called by how many days they lie behind 1970."""
    lines = lines_of(when=[f"2020-01-0{1 + i % 3}" for i in range(ROWS)])
    material = made(tmp_path, lines, "table:target=when")
    assert material.ends.says == "row_values" and material.kind == "times"
    with pytest.raises(UsageError, match="when holds times, and kind=classes asks for classes; write them as words"):
        made(tmp_path, lines, "table:target=when,kind=classes")
