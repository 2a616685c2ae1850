"""Fits over sizes and tokens: planted exponents come back, with intervals that hold them; fits over comparisons."""

import copy
import itertools
import json

import numpy as np
import pytest
from test_report import CASES

import blockyard as by
from blockyard.compare.judge.scaling import Scaling
from blockyard.compare.judge.surface import Surface, fit_surface
from blockyard.core.errors import UsageError

TRUTH = dict(floor=1.2, by_size=30.0, by_tokens=80.0, size_exponent=0.34, tokens_exponent=0.28)
PLACES = list(itertools.product((1e5, 3e5, 1e6, 3e6), (1e6, 2e6, 5e6, 1e7)))
SIZES, TOKENS = zip(*PLACES)


def loss(N, D):
    return 1.2 + 30 * N**-0.34 + 80 * D**-0.28


def test_planted_exponents_come_back():
    fit = fit_surface(SIZES, TOKENS, [[loss(N, D)] * 3 for N, D in PLACES], draws=3)
    for name, value in TRUTH.items():
        assert getattr(fit, name) == pytest.approx(value, rel=0.01), name
    ahead = fit.predict(5e6, 1.5e7)
    assert ahead.loss == pytest.approx(loss(5e6, 1.5e7), abs=1e-4) and not ahead.far
    assert fit.predict(7e6, 1e7).far and fit.predict(1e6, 3e7).far


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(0)
    rows = [loss(N, D) + 0.01 * rng.standard_normal(3) for N, D in PLACES]
    one = fit_surface(SIZES, TOKENS, rows, draws=4)
    other = fit_surface(SIZES[::-1], TOKENS[::-1], rows[::-1], draws=4)
    assert one == other and np.array_equal(one.draws, other.draws)


@pytest.mark.slow
def test_intervals_hold_the_truth_most_of_the_time():
    rng, inside = np.random.default_rng(1), 0
    for _ in range(12):
        rows = [loss(N, D) + 0.01 * rng.standard_normal(3) for N, D in PLACES]
        ahead = fit_surface(SIZES, TOKENS, rows, draws=60).predict(6e6, 2e7)
        inside += ahead.low <= loss(6e6, 2e7) <= ahead.high
        assert 0 < ahead.high - ahead.low < 0.3
    assert inside >= 8


def test_what_does_not_depend_on_data_has_no_term_for_it():
    fit = fit_surface(SIZES, TOKENS, [[1.0 + 30 * N**-0.34] * 3 for N, _ in PLACES], draws=2)
    assert fit.by_tokens * 1e6**-fit.tokens_exponent < 1e-3 and fit.size_exponent == pytest.approx(0.34, rel=0.02)


def test_wrong_requests():
    rows = [[2.0] * 3] * 16
    with pytest.raises(UsageError, match="4 or more distinct"):
        fit_surface([1.0] * 16, TOKENS, rows)
    with pytest.raises(UsageError, match="3 or more seeds"):
        fit_surface(SIZES, TOKENS, [[2.0] * 2] * 16)
    with pytest.raises(UsageError, match="finite"):
        fit_surface(SIZES, TOKENS, [[float("nan")] * 3] * 16)
    with pytest.raises(UsageError, match=r"result.json is missing"):
        by.scaling(["nowhere"])
    with pytest.raises(UsageError, match="needs finished comparisons"):
        by.scaling([])


def comparison(folder, N, D, data="abc", better="lower"):
    held = copy.deepcopy(CASES["two arms"])
    for arm, name in zip(held["arms"], ("llama", f"only-{N}")):
        scores = [loss(N, D) + 0.001 * s if name == "llama" else 2.0 for s in range(3)]
        arm |= {"name": name, "params": int(N), "tokens": int(D), "score": {**arm["score"], "per_seed": scores}}
    held["metric"]["better"], held["plan"]["data"]["hash"], held["format"] = better, data, 1
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(held))
    return folder


def test_fits_over_comparisons(tmp_path):
    same = [comparison(tmp_path / f"a{i}", N, 1e6) for i, N in enumerate((1e5, 3e5, 1e6, 3e6))]
    fits = by.scaling(same)
    assert list(fits) == ["llama"] and isinstance(fits["llama"], Scaling)
    many = [comparison(tmp_path / f"b{i}", N, D) for i, (N, D) in enumerate(PLACES)]
    assert isinstance(by.scaling(many)["llama"], Surface)
    with pytest.raises(UsageError, match="differ in their data"):
        by.scaling([*same, comparison(tmp_path / "other", 2e6, 1e6, data="xyz")])
    with pytest.raises(UsageError, match="bits/byte rises"):
        by.scaling([comparison(tmp_path / f"up{i}", N, 1e6, better="higher") for i, N in enumerate((1e5, 3e5))])
