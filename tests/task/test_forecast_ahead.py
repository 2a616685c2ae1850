"""Forecasting beyond the end of a file: the right window, times and units; intervals; files that are refused."""

import csv
import json

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.cli import main
from blockyard.core import Batch
from blockyard.core.errors import UsageError
from blockyard.data.steps import Step
from blockyard.task._kept import Kept, conformal
from tests.task.saved_forecaster import saved, written


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_the_model_reads_the_last_window_and_says_what_follows_in_the_units_of_the_file(here):
    file = written(here)
    folder, material, model = saved(here, file)
    found = by.forecast(folder, file)
    assert [each.series for each in found.series] == ["load", "temp"]
    assert found.series[0].times[:2] == ["2024-01-13 12:00", "2024-01-13 13:00"] and len(found.series[0].times) == 6
    rows = np.array([[float(row["load"]), float(row["temp"])] for row in lines_of(file)])
    series = material.series
    window = ((rows[-24:] - series.offset) / series.scale).astype(np.float32)
    with torch.no_grad():
        said = model(Batch(torch.from_numpy(window[None]))).prediction["forecast"][0].double().numpy()
    wanted = said * series.scale + series.offset
    np.testing.assert_allclose([each.middle for each in found.series], wanted.T, rtol=1e-5)
    load = found.series[0].references
    np.testing.assert_allclose(load["last value"], rows[-1, 0], rtol=1e-5)
    np.testing.assert_allclose(load["last season (24)"], rows[-24:-18, 0], rtol=1e-5)


def test_the_csv_says_the_same_and_a_second_forecast_takes_its_place(here):
    file = written(here)
    folder, _, _ = saved(here, file, target="load")
    found = by.forecast(folder, file, steps=4)
    lines = lines_of("my-forecast.csv")
    assert len(lines) == 4 and list(lines[0])[:5] == ["time", "series", "mean", "q0.025", "q0.1"]
    assert [float(line["mean"]) for line in lines] == pytest.approx(found.series[0].middle, rel=1e-6)
    by.forecast(folder, file)
    assert len(lines_of("my-forecast.csv")) == 6
    (here / "other.csv").write_text("mine,own\n")
    with pytest.raises(UsageError, match=r"other.csv exists and is no forecast"):
        by.forecast(folder, file, out="other.csv")
    assert (here / "other.csv").read_text() == "mine,own\n"
    with pytest.raises(UsageError, match=r"^cannot write xxx"):
        by.forecast(folder, file, out="x" * 300)


def test_the_command_prints_a_table_with_what_needs_no_training(here, capsys):
    file = written(here)
    folder, _, _ = saved(here, file)
    assert main(["forecast", folder, file]) == 0
    said = capsys.readouterr().out
    assert "95% interval" in said and "last season (24)" in said and "my-forecast.csv" in said
    assert main(["forecast", folder, file, "--json", "--steps", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["series"]) == 2 and found["middle"] == "mean" and len(found["series"][0]["quantiles"]["0.9"]) == 2


def test_intervals_are_what_the_errors_of_held_out_windows_were(here):
    file = written(here)
    folder, material, model = saved(here, file, target="load")
    found = by.forecast(folder, file)
    windows = material.series.windows(1)
    rows = windows.take(slice(None))
    with torch.no_grad():
        said = model(Batch(torch.from_numpy(rows["tokens"]))).prediction["forecast"].double().numpy()
    errors = np.sort((rows["targets"] - said)[:, 2, 0])
    rank = int(np.floor(0.1 * (len(errors) + 1))) - 1, int(np.ceil(0.9 * (len(errors) + 1))) - 1
    scale = material.series.scale[0]
    for level, at in zip(("0.1", "0.9"), rank):
        away = found.series[0].quantiles[level][2] - found.series[0].middle[2]
        assert away == pytest.approx(errors[at] * scale, rel=1e-4), level
    ahead = found.series[0].quantiles
    assert all(a <= b for low, high in zip(ahead.values(), list(ahead.values())[1:]) for a, b in zip(low, high))


def test_conformal_quantiles_hold_for_new_errors_and_naive_ones_do_not():
    draw = np.random.default_rng(0)
    few = draw.standard_normal((9, 4000, 1, 1)).repeat(2, -1)  # nine errors, four thousand times
    added = conformal(few.reshape(9, 4000, 1, 2), (0.1, 0.9))[:, 0]
    new = draw.standard_normal(4000)
    assert (new < added[:, 1]).mean() == pytest.approx(0.9, abs=0.02)
    assert (new < added[:, 0]).mean() == pytest.approx(0.1, abs=0.02)
    assert (new < np.quantile(few[..., 0, 0], 0.9, 0)).mean() < 0.88
    gaps = np.where(np.arange(9)[:, None, None, None] > 6, np.nan, few[:, :1, :, :])
    assert conformal(gaps, (0.1, 0.9))[0, 0, 1] == np.nanmax(gaps[..., 1])


def test_quantiles_of_a_head_are_calibrated_and_their_middle_is_the_median(here):
    file = written(here)
    folder, _, _ = saved(here, file, recipe="patchtst", target="load", levels="0.1+0.5+0.9")
    found = by.forecast(folder, file)
    assert found.middle == "median" and found.series[0].middle == found.series[0].quantiles["0.5"]
    assert list(found.series[0].quantiles) == ["0.1", "0.5", "0.9"]
    low, high = found.below[0], found.below[2]
    assert 0.6 < high - low <= 1  # of an untrained head: what it says is wrong, what was added mends it


def test_a_level_beside_the_median_is_not_called_one(here):
    file = written(here)
    folder, _, _ = saved(here, file, recipe="patchtst", target="load", levels="0.1+0.8")
    found = by.forecast(folder, file)
    assert found.middle == "middle" and found.series[0].middle == found.series[0].quantiles["0.8"]
    by.forecast(folder, file)  # takes the place of the first


@pytest.mark.parametrize("rows, windows", [(215, 38), (218, 39)])
def test_intervals_of_too_few_windows_are_told(here, rows, windows):
    """39 errors are the fewest beyond the largest of which a new one lies with a chance of 2.5%."""
    file = written(here, rows=rows)
    folder, _, _ = saved(here, file)
    said = f"{folder}: {windows} windows calibrate its intervals, and the widest takes 39"
    assert any(note.startswith(said) for note in by.forecast(folder, file).notes) is (windows < 39)


def test_what_is_kept_comes_back_and_damage_is_told(here):
    file = written(here)
    folder, _, _ = saved(here, file)
    kept = Kept.read(here / "model")
    assert (
        kept.names == ["load", "temp"]
        and kept.step == Step(3600.0)
        and kept.series[""][0][1] == pytest.approx(3, abs=0.1)
    )
    path = here / "model" / "series.json"
    path.write_text(path.read_text().replace('"season": 24', '"season": 23'))
    with pytest.raises(UsageError, match="checksum"):
        by.forecast(folder, file)
    path.unlink()
    with pytest.raises(UsageError, match="was not trained on the task forecast"):
        by.forecast(folder, file)


def test_a_model_that_is_not_there_is_told_as_such(here):
    file = written(here)
    folder, _, _ = saved(here, file)
    (here / "bare").mkdir()
    for name, says in (("nope", "^no such file or folder: nope$"), ("modle", "did you mean model"),
                       (f"{folder}/nope", "nope"), ("./bare", "has no series.json")):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            by.forecast(name, file)


def lacks(lines):
    return [line[:2] for line in lines]


def worded(lines):
    lines[40][2] = "warm"
    return lines


WRONG = {
    "lacks": (dict(change=lacks), "other.csv has no column temp, which the model was trained on; it has when, load"),
    "step": (dict(step="D"), "has a row every 1 day, and the model was trained on rows every 1 hour"),
    "short": (dict(rows=23), "has 23 rows of numbers, and the model looks 24 back"),
    "word": (dict(change=worded), "row 40: column temp holds 'warm' among numbers"),
    "timeless": (dict(change=lambda lines: [line[1:] for line in lines]), "does not say how far apart its rows are"),
    "twice": (dict(change=lambda all: [*all[:9], *all[8:]]), "row 9: column when is 2024-01-01T07"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_does_not_fit_is_refused_in_a_line(here, case):
    folder, _, _ = saved(here, written(here))
    how, says = WRONG[case]
    with pytest.raises(UsageError) as told:
        by.forecast(folder, written(here, name="other.csv", **how))
    assert says in str(told.value) and "\n" not in str(told.value)


def test_more_steps_than_the_model_says_are_rolled_out_without_intervals(here, capsys):
    file = written(here)
    folder, material, model = saved(here, file)
    found, first = by.forecast(folder, file, steps=15), by.forecast(folder, file)
    for each, short in zip(found.series, first.series):
        assert each.middle[:6] == short.middle and len(each.middle) == len(each.times) == 15
        assert each.quantiles["0.9"][:6] == short.quantiles["0.9"] and each.quantiles["0.9"][6:] == [None] * 9
        assert each.references["last value"] == [short.references["last value"][0]] * 15
    window = torch.from_numpy(material.series.filled[-24:].copy())[None]
    with torch.no_grad():
        said = model(Batch(window)).prediction["forecast"]
        then = model(Batch(torch.cat([window[:, 6:], said], 1))).prediction["forecast"][0, :, 0].double().numpy()
    wanted = then * material.series.scale[0] + material.series.offset[0]
    np.testing.assert_allclose(found.series[0].middle[6:12], wanted, rtol=1e-5)
    assert main(["forecast", folder, file, "--steps", "0"]) == 2 and "--steps" in capsys.readouterr().err


def test_a_model_of_some_columns_says_no_more_steps_than_it_was_trained_to(here):
    file = written(here)
    folder, _, _ = saved(here, file, target="load")
    with pytest.raises(UsageError, match="says 6 steps of 1 of the 2 columns that it reads, so it cannot go on to 7"):
        by.forecast(folder, file, steps=7)


def test_another_unit_is_told(here):
    folder, _, _ = saved(here, written(here))
    found = by.forecast(folder, written(here, name="other.csv", load=1e6 + np.arange(50.0), temp=np.arange(50) % 7.0))
    assert "in the same unit" in found.notes[0] and "column load" in found.notes[0]


TIMES = {
    "days": (["2024-02-27", "2024-02-28"], ["2024-02-29", "2024-03-01"]),
    "months": (["2023-11-01", "2023-12-01", "2024-01-01"], ["2024-02-01", "2024-03-01"]),
    "ends of months": (["2023-11-30", "2023-12-31", "2024-01-31"], ["2024-02-29", "2024-03-31"]),
    "quarters": (["2023-04-01", "2023-07-01", "2023-10-01"], ["2024-01-01", "2024-04-01"]),
    "minutes": (["2024-01-01T00:00", "2024-01-01T00:15"], ["2024-01-01T00:30", "2024-01-01T00:45"]),
    "working days": ([f"2024-01-{day:02}" for day in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)], ["2024-01-15", "2024-01-16"]),
    "working days that end on a Thursday": (
        [f"2024-01-{day:02}" for day in (3, 4, 5, 8, 9, 10, 11, 12, 15, 16, 17, 18)], ["2024-01-19", "2024-01-22"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TIMES)
def test_the_times_that_come_next_are_those_of_the_calendar(case):
    before, after = (np.array(each, "M8[us]") for each in TIMES[case])
    step = Step.of(before)
    np.testing.assert_array_equal(step.after(before[-1], 2), after)
    np.testing.assert_array_equal(step.places(before), np.arange(len(before)))
