"""Made series that one forecaster is to learn from and another to be tried on."""

import numpy as np

from blockyard.source import read
from blockyard.task import make_task


def test_families_are_the_same_everywhere_and_are_named_series():
    data = read(["series_families"], ("table",))
    names, counts = np.unique(data.columns["series"].astype(str), return_counts=True)
    assert len(names) == 24 and set(counts) == {720} and len({name[:-2] for name in names}) == 6
    assert data.hash == read(["series_families"]).hash
    made = make_task("forecast:horizon=24,length=192,series=series").material(data)
    assert len(made.series.spans) == 24 and made.ends.settings == dict(length=192, horizon=24, channels=1, outputs=1)
    square = data.columns["x"][data.columns["series"] == "square 1"]
    spread = np.sort(abs(square - square.mean()) / square.std())
    assert spread[30] > 0.6  # two levels and little between them


def test_swelling_waves_swell():
    x = read(["swelling_waves"], ("table",)).numbers()["x0"]
    size = x[:2400].reshape(-1, 20).std(1)
    assert len(x) == 2400 and size.max() > 1.8 * size.min()
    assert np.corrcoef(x[660:], x[:-660])[0, 1] > 0.5  # 33 and 20 steps meet again after 660
