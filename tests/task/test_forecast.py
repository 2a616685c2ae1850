"""Forecasts: windows cut in order of time, scaled by what trains, scored on every window; references on the same."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.core.errors import UsageError
from blockyard.data.table import Table
from blockyard.source import read
from blockyard.task import make_task
from blockyard.task._series import filled, last_value, rhythm, ridge, seasonal


def table(rows=600, step="h", columns=3, **more):
    t = np.arange(rows)
    when = np.datetime64("2020-01-01", "us") + t * np.timedelta64(1, step)
    draw = np.random.default_rng(0)
    waves = {f"x{i}": 5 * i + (i + 1) * np.sin(2 * np.pi * t / 24 + i) + 0.1 * draw.standard_normal(rows)
             for i in range(columns)}  # fmt: skip
    return Table.of("waves", {"when": when, **waves, **more})


def material(data=None, **settings):
    words = ",".join(f"{name}={value}" for name, value in (dict(horizon=8, length=24) | settings).items())
    return make_task(f"forecast:{words}").material(table() if data is None else data)


def test_borders_in_shares_of_time():
    made = material()
    assert made.series.ends == (360, 480, 600)
    assert made.counts == {"train": 360 - 24 - 8 + 1, "tune": 120 - 8 + 1, "test": 120 - 8 + 1}


def test_borders_in_months_are_the_usual_ones():
    rows = 17420
    long = Table.of("long", {"t": np.datetime64("2016-07-01", "us") + np.arange(rows) * np.timedelta64(3600, "s"),
                             "OT": np.sin(np.arange(rows) / 9)})  # fmt: skip
    made = material(long, horizon=96, length=336, split="12:4:4")
    assert made.series.ends == (8640, 11520, 14400)
    assert made.counts == {"train": 8640 - 336 - 96 + 1, "tune": 2785, "test": 2785}
    assert made.series.windows(2).begins[0] == 11520 - 336


def test_windows_meet_and_none_that_trains_looks_ahead():
    series = material().series
    for part, (low, high) in enumerate([(24, 360), (360, 480), (480, 600)]):
        windows = series.windows(part)
        rows = windows.take(slice(None))
        assert rows["tokens"].shape == (len(windows), 24, 3) and rows["targets"].shape == (len(windows), 8, 3)
        np.testing.assert_array_equal(rows["targets"][:, 0], series.truth[low : high - 7])
        np.testing.assert_array_equal(rows["targets"][-1], series.truth[high - 8 : high])
        np.testing.assert_array_equal(rows["tokens"][:, -1], series.filled[low - 1 : high - 8])
        some = windows.take(np.array([3, 0]))
        np.testing.assert_array_equal(some["tokens"], rows["tokens"][[3, 0]])


def test_windows_are_cut_from_one_series():
    windows = material().series.windows(0)
    assert windows.series.base is None and windows.series.nbytes < 4 * 600 * 3 + 1


def test_scaling_is_fitted_on_what_trains():
    made, data = material(), table()
    train = np.stack(list(data.numbers().values()), 1)[:360]
    np.testing.assert_allclose(made.series.truth[:360].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(made.series.truth[:360].std(0), 1, atol=1e-5)
    np.testing.assert_allclose(made.series.offset, train.mean(0))
    later = dict(table().columns)
    later["x1"] = np.where(np.arange(600) < 360, later["x1"], 99.0)
    np.testing.assert_array_equal(material(Table.of("waves", later)).series.scale, made.series.scale)


def test_a_target_stands_first_and_alone_is_asked():
    made = material(target="x2")
    assert made.series.names == ["x2", "x0", "x1"] and made.series.asked == 1
    assert made.ends.settings == dict(length=24, horizon=8, channels=3, outputs=1)
    with pytest.raises(UsageError, match=r"did you mean x2 or"):
        material(target="x9")


def test_scores_are_means_over_all_that_is_asked():
    made = material()
    exam = made.exam("final", 24)
    rows = exam.take(slice(None))
    said = np.zeros_like(rows["targets"]) + 0.5
    batch = Batch(torch.from_numpy(rows["tokens"]), torch.from_numpy(rows["targets"]))
    amounts = made.amounts({"forecast": torch.from_numpy(said)}, batch)
    assert amounts.dtype == torch.float64 and amounts.shape == (len(exam), 3)
    off = said - rows["targets"]
    assert exam.weights @ exam.groups(amounts.numpy()) == pytest.approx(np.square(off).mean(), rel=1e-5)
    figures = made.figures(exam.sums(amounts.numpy()).sum(0), exam.asked.sum())
    unit = abs(made.series.truth[24:360] - made.series.truth[:336]).mean(0)
    assert made.season == 24 and figures["mae"] == pytest.approx(abs(off).mean(), rel=1e-5)
    assert figures["mase"] == pytest.approx((abs(off) / unit).mean(), rel=1e-4)


def test_empty_cells_are_shown_as_what_stood_before_and_never_scored():
    data = dict(table().columns)
    data["x0"] = np.where(np.arange(600) % 50 == 7, np.nan, data["x0"])
    made = material(Table.of("gaps", data))
    assert np.isfinite(made.series.filled).all() and made.series.filled[57, 0] == made.series.filled[56, 0]
    assert any("12 empty cells" in note for note in made.notes)
    exam = made.exam("final", 24)
    assert exam.asked.sum() == np.isfinite(exam.take(slice(None))["targets"]).sum() < len(exam) * 24
    assert all(np.isfinite(values).all() for values in made.references("final").values())
    batch = Batch(*(torch.from_numpy(x) for x in exam.take(slice(None)).values()))
    wrong = torch.full_like(batch.targets, torch.nan)
    assert made.amounts({"forecast": wrong}, batch).isnan().any()  # a forecast that is no number is not forgiven


def test_gaps_are_filled_forwards():
    x = np.array([[np.nan, 1], [2, np.nan], [np.nan, np.nan], [4, 5]])
    np.testing.assert_array_equal(filled(x), [[0, 1], [2, 1], [2, 1], [4, 5]])


def test_references_are_what_they_say():
    x = np.arange(10.0).reshape(1, 10, 1)
    np.testing.assert_array_equal(last_value(3, 1)(x)[0, :, 0], [9, 9, 9])
    np.testing.assert_array_equal(seasonal(5, 1, 4)(x)[0, :, 0], [6, 7, 8, 9, 6])
    made = material()
    windows = made.series.windows(0)
    rows = windows.take(slice(None))
    z = (rows["tokens"] - rows["tokens"][:, -1:]).transpose(0, 2, 1).reshape(-1, 24).astype(np.float64)
    y = (rows["targets"] - rows["tokens"][:, -1:]).transpose(0, 2, 1).reshape(-1, 8).astype(np.float64)
    best = np.square(z @ np.linalg.lstsq(z, y, rcond=None)[0] - y).mean()
    got = np.square(ridge(windows, 3)(rows["tokens"]) - rows["targets"]).mean()
    assert best <= got < 1.01 * best
    found = {name: float(made.exam("final", 24).weights @ v) for name, v in made.references("final").items()}
    assert list(found) == ["last value", "last season (24)", "ridge"]
    assert found["ridge"] < found["last season (24)"] < found["last value"]


def test_the_strength_of_the_ridge_is_chosen_on_what_tunes():
    draw = np.random.default_rng(2)
    made = material(
        Table.of("noise", {**table(rows=160).columns, **{f"n{i}": draw.normal(0, 1, 160) for i in range(3)}})
    )
    costs = {}
    for strength in (0.1, 1.0, 10.0, 100.0):
        rows = made.series.windows(1).take(slice(None))
        costs[strength] = np.square(ridge(made.series.windows(0), 6, strength)(rows["tokens"]) - rows["targets"]).sum()
    best = min(costs, key=lambda strength: costs[strength])
    referred = made.tuned_references("final", 4)
    assert referred.settings == {"ridge": f"strength={best:g}"} and best != 1.0 and "4 settings" in referred.notes[0]
    rows = made.exam("final", 24).rows.take(slice(None))
    wanted = np.square(ridge(made.series.windows(0), 6, best)(rows["tokens"]) - rows["targets"]).mean()
    assert float(made.exam("final", 24).weights @ referred.figures["ridge"]) == pytest.approx(wanted, rel=1e-6)
    plain, untuned = made.tuned_references("final", 1), made.references("final")
    assert not plain.settings and all((plain.figures[name] == each).all() for name, each in untuned.items())


@pytest.mark.parametrize("step,season", [("h", 24), ("m", 1440), ("D", 7), ("W", 52)])
def test_a_season_follows_from_the_step(step, season):
    assert material(table(3000, step, 1)).season == season


def test_without_times_a_season_is_looked_for():
    data = dict(table().columns)
    del data["when"]
    assert material(Table.of("no times", data)).season == 24
    noise = np.random.default_rng(1).standard_normal((2000, 2)).cumsum(0)
    assert rhythm(noise, 500) == 1
    with pytest.raises(UsageError, match="no column of times"):
        material(Table.of("no times", data), split="2:1:1")


def test_uneven_times_and_words_are_told():
    when = table().columns["when"].copy()
    when[300:] += np.timedelta64(20, "m")
    words = np.array(["a"] * 600, object)
    notes = "\n".join(material(Table.of("t", dict(table().columns) | {"when": when, "shop": words})).notes)
    assert "1 of 599 rows do not follow the one before after 1 hour" in notes and "left out: shop" in notes


WRONG = {
    "split=0.5:0.5": "must be three numbers", "split=0.9:0.2:0.1": "must be three numbers", "split=a:b:c": "three",
    "split=12:4:4": r"asks for 14,400 rows, and waves has 600", "horizon=200": "do not fit into 360 rows to train on",
    "length=400": "ask for less", "horizon=0": "at least 1|from 1", "steps=3": "unknown",
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_told(words):
    with pytest.raises(UsageError, match=WRONG[words]):
        make_task(f"forecast:{words}").material(table())


def test_a_table_of_words_has_nothing_to_forecast():
    with pytest.raises(UsageError, match="no column of numbers"):
        material(Table.of("w", {"a": np.array(["x"] * 50, object)}))


def test_a_column_without_a_number_to_train_on_is_left_out_unless_it_is_asked_for():
    late = np.where(np.arange(600) < 400, np.nan, 1.0)
    data = Table.of("late", {"x": late, **table().columns})
    made = material(data)
    assert made.series.names == ["x0", "x1", "x2"] and any("left out" in note for note in made.notes)
    with pytest.raises(UsageError, match="no number in x; name another target"):
        material(data, target="x")


def test_a_short_table_is_asked_for_less():
    made = make_task("forecast").material(table(300))
    assert (made.series.horizon, made.series.length) == (12, 30)
    assert make_task("forecast").material(table(3000)).series.horizon == 96


def test_exhibits_show_fans_in_the_units_of_the_table_and_the_error_by_step():
    made = material()
    exam = made.exam("final", 24)
    shown = made.exhibits(lambda rows: {"forecast": np.repeat(rows["tokens"][:, -1:], 8, 1)}, exam)
    assert [each.title for each in shown] == [
        "an ordinary window",
        "a hard window",
        "the worst window",
        "error by step",
    ]
    fan = shown[2]
    was, came, said = fan.lines
    assert was.x == list(range(-15, 1)) and came.x == said.x == list(range(1, 9)) and said.y == [said.y[0]] * 8
    assert said.y[0] == pytest.approx(was.y[-1])
    column = table().columns[fan.y]
    assert min(abs(column - came.y[0])) < 1e-5
    mine, last, season = shown[3].lines
    assert (mine.name, last.name, season.name) == ("error", "last value", "last season (24)")
    assert len(mine.y) == 8 and mine.y[-1] > mine.y[0] > 0
    assert mine.y == pytest.approx(last.y) and season.y != pytest.approx(last.y)  # the forecast above is the last value
    rows = exam.take(np.unique(np.linspace(0, len(exam) - 1, min(192, len(exam))).astype(int)))
    off = rows["tokens"][:, -24:, : rows["targets"].shape[2]][:, :8] - rows["targets"]
    assert season.y == pytest.approx(np.nanmean(np.square(off), (0, 2)), rel=1e-5)


@pytest.mark.parametrize("name", ["llama", "gla", "mamba2", "gpt2", "dlinear", "itransformer", "patchtst"])
def test_any_recipe_takes_on_windows(name):
    made = material(target="x1")
    system = made.fit(by.spec(name, "tiny"))
    if name == "dlinear":
        system = made.fit(by.spec(name, "tiny", length=24))
    model = by.build(system)
    rows = made.order(24, 5, 0).next(0)
    said = model(Batch(torch.from_numpy(rows["tokens"]))).prediction["forecast"]
    assert said.shape == (5, 8, 1) and said.isfinite().all()


@torch.no_grad()
def test_an_unchanged_decoder_follows_level_and_scale_of_each_variable():
    made = material()
    model = by.build(made.fit(by.spec("llama", "tiny"))).double()
    x = torch.from_numpy(made.series.windows(0).take(slice(0, 4))["tokens"]).double()
    a, b = torch.tensor([2.0, 1.0, 5.0]).double(), torch.tensor([1.0, -3.0, 0.0]).double()
    forecast = lambda x: model(Batch(x)).prediction["forecast"]  # noqa: E731
    assert ((forecast(a * x + b) - b) / a - forecast(x)).abs().max() < 1e-3
    other = torch.cat([x[..., :1], 3 * x[..., 1:].flip(1)], -1)
    assert (forecast(other) - forecast(x))[..., 0].abs().max() == 0 < (forecast(other) - forecast(x)).abs().max()


def test_made_series_are_the_same_everywhere():
    for name in ("rhythms", "followers"):
        data = read([name], ("table",))
        assert data.time == "hour" and len(data.numbers()) == 8 and len(data) > 3999
    values = np.stack(list(read(["followers"]).numbers().values()), 1)
    for j, lag in enumerate(range(12, 25, 2), 1):
        assert np.corrcoef(values[lag:, j], values[:-lag, 0])[0, 1] > 0.98


def test_what_was_said_of_the_table_and_what_tells_nothing_is_told(tmp_path):
    flat, clock = np.full(600, 7.0), 3.0 + 0.5 * np.arange(600)
    timed = table(flat=flat, clock=clock)
    assert material(Table.of("t", timed.columns, ["t: read so"])).notes == (
        "t: read so", "t: the same in every row, and forecast all the same: flat",
    )  # fmt: skip
    plain = Table.of("t", {name: cells for name, cells in timed.columns.items() if name != "when"})
    (told,) = [note for note in material(plain).notes if "clock" in note]
    assert "as much more in every row, and forecast as numbers: clock;" in told and "x0" not in told


def test_one_time_that_is_written_otherwise_is_refused_by_row_and_column():
    cells = np.array([f"2020-01-{1 + i % 28:02d}" for i in range(600)], object)
    cells[40] = "soon"
    data = table()
    columns = {"day": cells, **{name: values for name, values in data.columns.items() if name != "when"}}
    with pytest.raises(UsageError, match=r"^t row 41: column day holds 'soon' among times; "):
        material(Table.of("t", columns))
    assert "words are not forecast, left out: day" in material(Table.of("t", {**data.columns, "day": cells})).notes[0]
