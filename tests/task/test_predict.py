"""Predicting rows without their answer: read as in training, with chances or intervals, or refused."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import blockyard as by
from blockyard.cli import main
from blockyard.core.errors import UsageError
from blockyard.core.files import sealed
from blockyard.task._answer import Classes
from blockyard.task._predicts import Predicts
from tests.task.saved_predictor import predicting, saved, written

CLASS, NUMBER = "table:target=kind,drop=y", "table:target=y,drop=kind"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    for name in ("class", "number"):
        (folder / name).mkdir()
    file = written(folder)
    return folder, file, saved(folder / "class", file, CLASS), saved(folder / "number", file, NUMBER)


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return home


def softmax(scores):
    found = np.exp(scores.astype(np.float64))
    return found / found.sum(1, keepdims=True)


def lines_of(path):
    with open(path) as file:
        return list(csv.reader(file))


def direct(made):
    """What the model says of all rows, read by the task itself."""
    _, material, model = made
    return predicting(model)({"tokens": material.found.cells})[material.answer.says]


def turned(lines):
    """Columns in another order, one more, without the answers."""
    return [[*line[4::-1], f"more {i}" if i else "more"] for i, line in enumerate(lines)]


@pytest.mark.parametrize(
    "how", [{}, {"change": turned}, {"change": turned, "mark": ";"}], ids=["same", "turned", "comma"]
)
def test_rows_are_read_as_they_were_where_the_model_trained(here, tmp_path, how):
    _, _, made, _ = here
    found = by.predict(made[0], written(tmp_path, name="new.csv", **how))
    np.testing.assert_allclose(found.chances, softmax(direct(made)), atol=1e-6)
    assert found.said == [made[1].answer.names[i] for i in direct(made).argmax(1)] and found.classes == ["hi", "lo"]
    assert np.std(found.chances, axis=0).min() > 1e-3 and found.names[:2] == ["1", "2"]


def test_few_rows_are_read_like_many(here, tmp_path):
    """Words that look like numbers, zeros without a one, a column that is all empty: none of that changes its kind."""
    _, _, made, _ = here
    lines = lines_of(here[1])
    row = next(i for i, line in enumerate(lines) if line[3] == "0" and not line[0])
    written(tmp_path, name="one.csv", change=lambda lines: [lines[0], lines[row]])
    found = by.predict(made[0], "one.csv")
    np.testing.assert_allclose(found.chances[0], softmax(direct(made))[row - 1], atol=1e-6)
    assert found.notes == ["one.csv: columns that the model does not read: y"]


def changed(column, cell, rows=6):
    def change(lines):
        at = lines[0].index(column)
        return [lines[0], *([*line[:at], cell, *line[at + 1 :]] for line in lines[1 : rows + 1])]

    return change


def test_a_word_that_nobody_has_seen_is_itself_no_other_and_told(here, tmp_path):
    _, _, made, _ = here
    said = {}
    for word in ("red", "green", "blue", "", "pink"):
        written(tmp_path, name="new.csv", change=changed("c", word))
        said[word or "empty"] = by.predict(made[0], "new.csv")
    assert "words that the model does not know, read as such: c ('pink'; 6 rows)" in said["pink"].notes[0]
    for other in ("red", "green", "blue", "empty"):  # a double that takes the first word, or none, is one of these
        assert np.abs(np.array(said["pink"].chances) - said[other].chances).max() > 1e-3, other
        assert not any("does not know" in note for note in said[other].notes)
    assert "empty cells in columns that had none where the model trained: c (6 rows)" in said["empty"].notes[0]


def test_what_is_odd_in_the_file_itself_is_told(here, tmp_path):
    """A table whose rows are not named the model reads by the names that they are given, and says so."""
    draw = np.random.default_rng(0)
    for name in ("first.csv", "new.csv"):
        (tmp_path / name).write_text("".join(f"{a:.3f},{b > 0:d}\n" for a, b in draw.normal(size=(90, 2))))
    folder, _, _ = saved(tmp_path, tmp_path / "first.csv", "table:target=2")
    assert "new.csv has no row of names: its columns are called 1 to 2" in by.predict(folder, "new.csv").notes


@pytest.mark.parametrize("scores, told", [((0.2, 0.4, None), True), ((0.2,), False)])
def test_who_was_chosen_by_the_test_is_told_beside_its_figures(here, tmp_path, scores, told):
    shutil.copytree(here[2][0], tmp_path / "out" / "runs" / "one" / "model")
    arm = {"name": "mine", "model": {"folder": "runs/one/model"}, "score": {"per_seed": list(scores)}}
    (tmp_path / "out" / "result.json").write_bytes(
        sealed({"format": 2, "arms": [arm, {**arm, "name": "gone", "model": None}]})
    )
    for name in ("out:mine", str(Path("out", "runs", "one", "model"))):
        notes = [note for note in by.predict(name, here[1]).notes if "flatter" in note]
        assert bool(notes) is told and all("mine was chosen from 2 runs by the test itself" in each for each in notes)
        assert all("the score is 0.3 on average" in each for each in notes)


def test_another_unit_is_told(here, tmp_path):
    written(tmp_path, name="new.csv", change=changed("a", "5000.5"))
    notes = by.predict(here[2][0], "new.csv").notes
    assert any("column a of row 1 is 1." in note and "in the same unit?" in note for note in notes)


def test_intervals_are_what_the_errors_of_the_tuning_rows_were(here, tmp_path):
    _, file, _, made = here
    folder, material, _ = made
    found = by.predict(folder, file)
    answer, said = material.answer, direct(made)[:, 0].astype(np.float64)
    np.testing.assert_allclose([float(x) for x in found.said], said * answer.scale + answer.mean, rtol=1e-5)
    rows = material.found.rows["tune"]
    errors = np.sort(material.found.targets[rows, 0] - said[rows])
    for level, rank in ((0.1, math.floor(0.1 * 21)), (0.9, math.ceil(0.9 * 21)), (0.975, 20)):
        away = float(found.quantiles[f"{level:g}"][7]) - float(found.said[7])
        assert away == pytest.approx(errors[rank - 1] * answer.scale, rel=1e-3), level
    test = material.found.rows["test"]
    low = material.found.targets[test, 0] < said[test] + errors[1]
    assert len(rows) == 20 and found.below[1] == pytest.approx(low.mean(), abs=1e-9)
    assert any("20 rows calibrate its intervals, and the widest takes 39" in note for note in found.notes)


def test_where_answers_stand_in_the_file_they_are_not_read_and_the_figures_are_theirs(here, tmp_path):
    _, file, made, number = here
    plain = by.predict(made[0], written(tmp_path, name="new.csv", change=turned))
    whole = by.predict(made[0], file)
    assert whole.said == plain.said and not plain.here and whole.answered == 200
    truth = [line[-1] for line in lines_of(file)[1:]]
    assert whole.here["error"] == pytest.approx(np.mean([a != b for a, b in zip(truth, whole.said)]))
    assert any("old.csv trained this model" in note for note in whole.notes)
    some = by.predict(made[0], written(tmp_path, name="new.csv", change=changed("kind", "high")))
    assert some.answered == 0 and "6 rows hold a kind that the model does not know ('high')" in " ".join(some.notes)
    far = by.predict(number[0], file)
    off = [float(a) - float(line[-2]) for a, line in zip(far.said, lines_of(file)[1:])]
    assert far.here["mae"] == pytest.approx(np.mean(np.abs(off)), rel=1e-4)


def test_what_is_known_of_the_test_is_kept(here):
    _, _, made, _ = here
    _, material, _ = made
    test = material.found.rows["test"]
    kept, truth = Predicts.read(here[0] / "class" / "model"), material.found.targets[test]
    assert kept.tested["error"] == pytest.approx((direct(made)[test].argmax(1) != truth).mean())
    commonest = np.bincount(material.found.targets[material.found.rows["train"]]).argmax()
    assert kept.blind == pytest.approx((truth != commonest).mean()) and kept.answer == Classes(("hi", "lo"))


@pytest.mark.parametrize("mark, told", [("/", True), (".", False)])
def test_days_that_could_be_months_are_told(here, tmp_path, mark, told):
    _, _, made, _ = here
    said = {}
    for day in (f"02{mark}03{mark}2024", "2024-03-02", "2024-02-03"):
        written(tmp_path, name="new.csv", change=changed("when", day))
        said[day] = by.predict(made[0], "new.csv")
    first, dots, slashes = said.values()
    assert first.chances == (slashes if told else dots).chances != (dots if told else slashes).chances
    assert any("can be two days; the month is taken to stand first" in note for note in first.notes) is told
    assert not any("two days" in note for note in dots.notes)


def test_rows_that_run_backwards_keep_their_places(here, tmp_path):
    _, _, made, _ = here

    def falling(lines):
        return [lines[0], *sorted(lines[1:], key=lambda line: line[4], reverse=True)]

    written(tmp_path, name="new.csv", change=falling)
    found = by.predict(made[0], "new.csv")
    order = sorted(range(200), key=lambda i: lines_of(here[1])[1 + i][4], reverse=True)
    np.testing.assert_allclose(found.chances, softmax(direct(made))[order], atol=1e-6)
    assert not any("turned round" in note for note in found.notes)


WRONG = {
    "number": (changed("a", "4o"), "row 1: column a holds '4o', and the model was trained on numbers there; write a"),
    "flag": (changed("flag", "yes"), "row 1: column flag holds 'yes', and the model was trained on 0 and 1 there"),
    "time": (changed("when", "soon"), "row 1: column when holds 'soon', and the model was trained on times there"),
    "absent": (lambda lines: [line[1:3] for line in lines], "has no column a, flag, when, which the model reads; it"),
    "infinite": (changed("a", "inf"), "column a holds inf, which is infinite"),
    "names": (lambda lines: lines[:1], "has nothing but a row of names"),
    "short": (lambda lines: [lines[0], lines[1][:-1]], "line 2 has 6 cells, and the first row has 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_does_not_fit_is_refused_in_two_lines_at_most(here, tmp_path, case, capsys):
    change, says = WRONG[case]
    file = written(tmp_path, name="new.csv", change=change)
    assert main(["predict", here[2][0], file]) == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) <= 2 and not (tmp_path / "new-predictions.csv").exists()


def test_the_command_writes_a_table_and_touches_nothing_else(here, tmp_path, capsys):
    _, file, made, number = here
    assert main(["predict", made[0], file]) == 0
    told = capsys.readouterr()
    assert (
        "chance of hi" in told.out and "on its test, when it was trained: error" in told.out and "more rows" in told.out
    )
    lines = lines_of("old-predictions.csv")
    assert lines[0] == ["row", "predicted kind", "chance of hi", "chance of lo"] and len(lines) == 201
    assert main(["predict", number[0], file, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["quantiles"]["0.975"]) == 200
    assert lines_of("old-predictions.csv")[0][:3] == ["row", "predicted y", "q0.025"]  # it took the place of the first
    (tmp_path / "mine.csv").write_text("mine,own\n")
    for out, says in (
        ("mine.csv", "exists and holds no predictions"),
        ("x" * 300, "cannot write"),
        (".", "exists and"),
    ):
        assert main(["predict", made[0], file, "--out", out]) == 2 and says in capsys.readouterr().err
    assert (tmp_path / "mine.csv").read_text() == "mine,own\n"


def test_what_is_no_such_model_is_told(here, tmp_path):
    _, file, made, _ = here
    (tmp_path / "bare").mkdir()
    for name, says in (
        ("nope", "^no such file or folder: nope"),
        ("./bare", "has no predicts.json: it was trained nei"),
    ):
        with pytest.raises(UsageError, match=says):
            by.predict(name, file)
    with pytest.raises(UsageError, match="blockyard predict scores rows"):
        from blockyard.saved.evaluate import evaluate

        evaluate(made[0], [file])


def test_damage_is_told(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _, _ = saved(tmp_path, home[1], CLASS)
    path = tmp_path / "model" / "predicts.json"
    path.write_text(path.read_text().replace('"hi"', '"ho"', 1))
    with pytest.raises(UsageError, match="checksum"):
        by.predict(folder, home[1])


def test_a_time_that_is_predicted_is_written_as_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path)
    folder, material, model = saved(tmp_path, file, "table:target=when,drop=y")
    found = by.predict(folder, file)
    day = (
        predicting(model)({"tokens": material.found.cells})["row_values"][0, 0] * material.answer.scale
        + material.answer.mean
    )
    wanted = np.datetime64("1970-01-01T00:00:00") + np.timedelta64(round(float(day) * 86400), "s")
    assert abs(np.datetime64(found.said[0]) - wanted) < np.timedelta64(60, "s") and found.said[0][4] == "-"


def sound(path, pitch, seconds=0.1, rate=8000):
    from scipy.io import wavfile

    times = np.arange(int(rate * seconds)) / rate
    wavfile.write(path, rate, (np.sin(2 * np.pi * pitch * times) * 2e4).astype(np.int16))


def picture(path, bright, size=(12, 12), mode="L", seed=0):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(seed).integers(0, 60, (*size, 3), np.uint8) + np.uint8(90 * bright)
    image.fromarray(pixels).convert(mode).save(path)


def words(path, name):
    path.write_text(f"{name} " * 9 + path.name)


def things(folder, kind, count=12):
    """A folder of two classes of things."""
    for name, place in (("low", 0), ("high", 1)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            if kind == "sounds":
                sound(folder / name / f"{i}.wav", 200 + 900 * place + 3 * i)
            elif kind == "images":
                picture(folder / name / f"{i}.png", place, seed=2 * i + place)
            else:
                words(folder / name / f"{i}.txt", name)
    return folder


@pytest.mark.parametrize("kind, ending", [("images", "png"), ("sounds", "wav"), ("texts", "txt")])
def test_things_are_read_as_they_were_where_the_model_trained(tmp_path, monkeypatch, kind, ending):
    monkeypatch.chdir(tmp_path)
    folder, material, model = saved(tmp_path, things(tmp_path / "old", kind), "classify", wanted=("items",))
    said = softmax(predicting(model)(material.input.rows.take(slice(None)))["classes"])
    wanted = dict(zip(material.items.names, said))
    (tmp_path / "new").mkdir()
    for i, name in enumerate(material.items.names):  # no folders, copies, and what is none of the kind
        (tmp_path / "new" / f"{i}.{ending}").write_bytes((tmp_path / "old" / name).read_bytes())
    (tmp_path / "new" / f"0 again.{ending}").write_bytes((tmp_path / "old" / material.items.names[0]).read_bytes())
    (tmp_path / "new" / "notes.xyz").write_text("no")
    found = by.predict(folder, "new")
    assert found.of == "file" and len(found.names) == 25 and any("1 other files" in note for note in found.notes)
    for name, chances in zip(found.names, found.chances):
        old = material.items.names[int(name.partition(".")[0].split()[0])]
        np.testing.assert_allclose(chances, wanted[old], atol=1e-5)
    assert np.std(found.chances, axis=0).min() > 1e-4
    assert lines_of("new-predictions.csv")[0] == ["file", "predicted class", "chance of high", "chance of low"]
    one = by.predict(folder, f"new/3.{ending}", out="one.csv")
    np.testing.assert_allclose(one.chances[0], wanted[material.items.names[3]], atol=1e-5)


def test_things_of_other_sizes_and_broken_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _, _ = saved(tmp_path, things(tmp_path / "old", "images"), "classify", wanted=("items",))
    (tmp_path / "new").mkdir()
    picture(tmp_path / "new" / "large.png", 1, (40, 30), "RGB")
    (tmp_path / "new" / "three.png").write_bytes(b"abc")
    found = by.predict(folder, "new")
    said = " ".join(found.notes)
    assert (
        found.names == ["large.png"]
        and "three.png is no image, 3 bytes" in said
        and "1 of 1 images have colours" in said
    )
    (tmp_path / "new" / "large.png").unlink()
    for data, says in (("new", "none of the images in new can be read: three.png is no"), ("nwe", "did you mean new"),
                       ("new/three.png", "none of the images"), ("model", "there are no images in model"),
                       ("model/config.json", "is not one of the images that are read")):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            by.predict(folder, data)


def test_texts_come_from_a_column_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _, _ = saved(tmp_path, things(tmp_path / "old", "texts"), "classify", wanted=("items",))
    (tmp_path / "new.csv").write_text("id,body\n1,low low low\n2,high high\n3,007\n")
    (tmp_path / "new").mkdir()
    for i, text in enumerate(["low low low", "high high", "007"]):
        (tmp_path / "new" / f"{i}.txt").write_text(text)
    rows, files = by.predict(folder, "new.csv:body"), by.predict(folder, "new", out="files.csv")
    np.testing.assert_allclose(rows.chances, files.chances, atol=1e-6)
    assert rows.of == "row" and rows.names == ["1", "2", "3"] and rows.out == "new-predictions.csv"
    with pytest.raises(UsageError, match="has no column 'text'; columns: id, body"):
        by.predict(folder, "new.csv")
    (tmp_path / "new" / "3.txt").write_text(" ")
    with pytest.raises(UsageError, match="holds no text"):
        by.predict(folder, "new")
