"""Several series in one table, of different lengths, with gaps, and with columns that are known in advance."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.core.errors import UsageError
from blockyard.data.table import Table
from blockyard.task import make_task
from tests.task.saved_forecaster import saved

SIZES = {"north": 300, "south": 200, "west": 160}
HOUR = np.timedelta64(1, "h")


def table(sizes=SIZES, mixed=True, **more):
    """Series that end at one time, each at a level and a scale of its own; load is made of what is known."""
    draw, found = np.random.default_rng(0), []
    for i, (name, rows) in enumerate(sizes.items()):
        t = np.arange(max(sizes.values()) - rows, max(sizes.values()))
        known = draw.standard_normal(rows)
        load = 1000.0**i * (5 + np.sin(t / 24 * 2 * np.pi) + known)
        found.append((np.array("2024-01-01", "M8[us]") + t * HOUR, np.array([name] * rows, object), load, known))
    columns = dict(zip(("when", "shop", "load", "price"), (np.concatenate(each) for each in zip(*found))))
    if mixed:
        order = np.argsort(columns["when"], kind="stable")
        columns = {name: cells[order] for name, cells in columns.items()}
    return Table.of("shops", columns | more)


def material(data=None, **settings):
    asked = dict(horizon=4, length=12, target="load", series="shop") | settings
    words = ",".join(f"{name}={value}" for name, value in asked.items() if value is not None)
    return make_task(f"forecast:{words}").material(table() if data is None else data)


def own(name):
    cells = table().columns
    return cells["load"][cells["shop"] == name]


def test_each_series_is_split_and_scaled_by_itself():
    made = material()
    assert [(span.name, span.ends[2] - span.begin) for span in made.series.spans] == list(SIZES.items())
    for span in made.series.spans:
        values, train = own(span.name), round(0.6 * SIZES[span.name])
        assert span.ends[0] - span.begin == train and span.offset[0] == pytest.approx(values[:train].mean())
        scaled = made.series.truth[span.begin : span.ends[0], 0]
        assert scaled.mean() == pytest.approx(0, abs=1e-5) and scaled.std() == pytest.approx(1, abs=1e-5)
    assert made.column == "shop" and "660 rows of 3 series" in made.summary


def test_no_window_holds_two_series_and_none_that_trains_looks_ahead():
    series = material().series
    for part in range(3):
        begins = series.windows(part).begins
        whose = [next(s for s in series.spans if s.begin <= begin < s.ends[2]) for begin in begins]
        ends = begins + series.length + series.horizon
        assert all(end <= span.ends[part] for end, span in zip(ends, whose))
        assert part == 0 or all(b + 12 >= span.ends[part - 1] for b, span in zip(begins, whose))
    assert material().counts["train"] == sum(round(0.6 * rows) - 12 - 4 + 1 for rows in SIZES.values())


def test_the_order_of_rows_does_not_matter():
    mixed, behind = material(), material(table(mixed=False))
    np.testing.assert_array_equal(mixed.series.filled, behind.series.filled)


def test_groups_are_stretches_of_time_across_all_series():
    made = material()
    exam = made.exam("final", 12)
    windows, when = made.series.windows(2), []
    for begin in windows.begins:
        span = next(s for s in made.series.spans if s.begin <= begin < s.ends[2])
        when.append(begin - span.begin + span.place)
    bounds = [(min(each), max(each)) for each in ([w for w, g in zip(when, exam.group) if g == k] for k in range(8))]
    assert all(low <= high <= after for (low, high), (after, _) in pairwise(bounds))
    assert [span.place for span in made.series.spans] == [0, 100, 140]


def test_one_series_named_by_a_column_has_the_figures_of_a_table_without_it():
    named, plain = table({"north": 300}), table({"north": 300})
    bare = Table.of("shops", {name: cells for name, cells in plain.columns.items() if name != "shop"})
    one, other = material(named), material(bare, series=None)
    np.testing.assert_array_equal(one.series.filled, other.series.filled)
    for name, values in one.references("final").items():
        np.testing.assert_array_equal(values, other.references("final")[name])


def test_gaps_of_one_series_are_not_filled_from_another():
    data = dict(table(mixed=False).columns)
    load = data["load"].copy()
    load[300:303] = np.nan  # the first rows of the second series, behind the last of the first
    made = material(Table.of("gaps", data | {"load": load}))
    south = made.series.spans[1]
    assert (made.series.filled[south.begin : south.begin + 3, 0] == 0).all()
    assert np.isnan(made.series.truth[south.begin : south.begin + 3]).all()


def test_series_that_are_too_short_are_told():
    made = material(table(SIZES | {"tiny": 9, "small": 11}))
    assert len(made.series.spans) == 3 and any("2 of 5 series are too short, left out: " in n for n in made.notes)
    with pytest.raises(UsageError, match="of the longest series; ask for less"):
        material(table({"tiny": 9, "small": 11}))


def test_references_and_quantiles_know_several_series():
    made = material(levels="0.1+0.5+0.9")
    assert all(np.isfinite(values).all() for values in made.references("final").values())
    assert "weighted quantile loss" not in {metric.name for metric in made.also}
    rows = made.exam("final", 12).take(slice(None))
    said = {"forecast": torch.zeros(*rows["targets"].shape), "quantiles": torch.zeros(*rows["targets"].shape, 3)}
    sums = made.amounts(said, Batch(torch.from_numpy(rows["tokens"]), torch.from_numpy(rows["targets"])))
    assert set(made.figures(sums.sum(0).numpy(), 1.0)) == {metric.name for metric in made.also}


def test_what_is_known_in_advance_is_shown_a_horizon_early_and_nothing_else_is():
    made = material(known="price")
    assert made.series.names == ["load", "price"] and made.series.asked == made.series.early == 1
    span = made.series.spans[1]
    price = (table().columns["price"][table().columns["shop"] == "south"] - span.offset[1]) / span.scale[1]
    shown = made.series.filled[span.begin : span.ends[2]]
    np.testing.assert_allclose(shown[:-4, 1], price[4:], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(shown[:, 0], made.series.truth[span.begin : span.ends[2], 0])
    window = made.series.windows(2).take(np.array([0]))
    assert window["tokens"].shape == (1, 12, 2)
    x, y = (made.series.windows(0).take(slice(None))[name] for name in ("tokens", "targets"))
    # load is a wave and what is known: who reads the future price of a step explains most of its noise
    assert np.corrcoef(x[:, -4, 1], y[:, 0, 0])[0, 1] > 0.6 > abs(np.corrcoef(x[:, -5, 1], y[:, 0, 0])[0, 1])


@pytest.mark.parametrize(("settings", "says"), [
    (dict(known="cost"), "unknown column of numbers in shops 'cost'"),
    (dict(known="load"), "known=load must leave a column to forecast"),
    (dict(known="load+price", target=None), "must leave a column to forecast"),
    (dict(series="store"), "unknown column of shops 'store'"),
    (dict(series=None), "in row 100 stands there as well|in row 101 stands|stands there as well"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(settings, says):
    with pytest.raises(UsageError, match=says) as told:
        material(**settings)
    assert "\n" not in str(told.value)


def test_a_row_of_no_series_is_refused():
    data = dict(table().columns)
    shop = data["shop"].copy()
    shop[41] = None
    with pytest.raises(UsageError, match="row 42: column shop is empty"):
        material(Table.of("shops", data | {"shop": shop}))


def test_settings_of_today_leave_the_names_of_comparisons_as_they_were():
    data = table({"north": 300})
    said = "forecast:horizon=4,length=12,target=load,split=0.6:0.2:0.2,season=None"
    bare = Table.of("shops", {name: cells for name, cells in data.columns.items() if name != "shop"})
    assert material(bare, series=None).hash == hashlib.sha256(f"{bare.hash} {said}".encode()).hexdigest()
    assert material(data).hash != material(bare, series=None).hash


def written(folder, data, name):
    cells = zip(*(["" if value != value else str(value) for value in column] for column in data.columns.values()))
    (folder / name).write_text("\n".join([",".join(data.columns), *map(",".join, cells)]) + "\n")
    return str(folder / name)


def test_each_series_of_a_file_is_forecast_from_its_own_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = dict(horizon=4, length=24, target="load", series="shop")
    folder, _, _ = saved(tmp_path, written(tmp_path, table(mixed=False), "my.csv"), **settings)
    found = by.forecast(folder, tmp_path / "my.csv")
    assert [each.series for each in found.series] == list(SIZES)
    for each in found.series:
        assert each.references["last value"][0] == pytest.approx(own(each.series)[-1], rel=1e-4)
    more = written(tmp_path, table(SIZES | {"east": 50, "tiny": 20}), "more.csv")
    found = by.forecast(folder, more)
    assert [each.series for each in found.series] == [*SIZES, "east"]
    assert any("left out: tiny" in note for note in found.notes) and any(
        "new series: east" in note for note in found.notes
    )


def test_what_is_known_in_advance_goes_on_behind_the_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = table({"north": 300})
    load = whole.columns["load"].copy()
    load[-4:] = np.nan
    ahead = Table.of("ahead", dict(whole.columns) | {"load": load})
    settings = dict(recipe="itransformer", horizon=4, length=24, target="load", series="shop", known="price")
    folder, material, model = saved(tmp_path, written(tmp_path, whole, "my.csv"), **settings)
    found = by.forecast(folder, written(tmp_path, ahead, "ahead.csv"))
    assert found.series[0].times[0] == str(whole.columns["when"][-4]).replace("T", " ")[:16]
    window = material.series.filled[300 - 4 - 24 : 300 - 4]
    with torch.no_grad():
        said = model(Batch(torch.from_numpy(window[None].copy()))).prediction["forecast"][0, :, 0].double().numpy()
    wanted = said * material.series.scale[0] + material.series.offset[0]
    np.testing.assert_allclose(found.series[0].middle, wanted, rtol=1e-3)
    with pytest.raises(
        UsageError, match="column price of north is known in advance, and has 0 of 4 numbers behind row 300"
    ):
        by.forecast(folder, tmp_path / "my.csv")
