"""What must hold of an encoder that names stocks, sectors and means before it ranks returns."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from system_cases import F64, gap, model, normal

import blockyard as by
from blockyard.core import Batch
from blockyard.core.spec import objective
from blockyard.data.table import Table
from blockyard.parts.objective.returns import disorder
from blockyard.source import read
from blockyard.task import make_task
from blockyard.task._ranking import Panel, rank_correlations
from blockyard.train.loop import Run, Settings, build_objective

SMALL = dict(size="tiny", length=4, features=2, series=6)
TASK = "rank:length=4,averages=(3,)"


def prices(days=60, stocks=6, seed=0):
    draw = np.random.default_rng(seed)
    return 50 * np.exp(np.cumsum(0.02 * draw.normal(size=(days, stocks)), 0))


def table(values):
    when = np.datetime64("2020-01-01", "us") + np.arange(len(values)) * np.timedelta64(1, "D")
    return Table.of("some", {"day": when, **{f"{'ab'[i % 2]} {i}": column for i, column in enumerate(values.T)}})


def of(spec, made):
    """The objective of a spec for a model in double precision."""
    return build_objective(spec, made).double()


def windows(values, length=16, averages=(5, 10, 20, 30)):
    """The panel of some prices and what is shown on every day that has whole windows."""
    panel = Panel.of(values, length, averages)
    return panel.windows(np.flatnonzero(panel.asked().all(1)))


def draw(seed):
    rng = torch.Generator().manual_seed(seed)
    return lambda name, shape: torch.rand(shape, generator=rng, dtype=F64)


def test_the_price_of_order_is_zero_where_orders_agree():
    """(1) above 0 for each pair in wrong order, by hand; a number added to all scores of a row changes nothing."""
    returns = normal(3, 5)
    agreeing = returns.exp() * 3
    assert disorder(agreeing, returns) == 0 < disorder(-agreeing, returns)
    said = normal(3, 5, seed=1)
    want = sum(
        max(0.0, -float((a[i] - a[j]) * (r[i] - r[j])))
        for a, r in zip(said, returns) for i in range(5) for j in range(5)
    )  # fmt: skip
    assert abs(disorder(said, returns) - want) < 1e-12
    assert abs(disorder(said + normal(3, 1, seed=2), returns) - want) < 1e-12
    swapped = returns[:, [1, 0, 2, 3, 4]]
    assert disorder(agreeing, swapped) > 0
    gone = returns.clone()
    gone[:, 2:] = torch.nan
    pair = sum(2 * max(0.0, -float((a[0] - a[1]) * (r[0] - r[1]))) for a, r in zip(said, returns))
    assert abs(disorder(said, gone) - pair) < 1e-12


def test_both_terms_are_means_of_their_own():
    """(1) the squared error over what is asked, the order over all pairs of a row, times its weight."""
    m = model("sspt", **SMALL)
    batch = Batch(normal(3, 6, 4, 2), normal(3, 6, seed=4))
    found = of(objective("returns", weight=0.5), m)(m, batch)
    said = m(batch).prediction["panel_scores"]
    assert [weight for *_, weight in found.values()] == [1.0, 0.5]
    squared, order = (total / count for total, count, _ in found.values())
    assert gap(squared, (said - batch.targets).square().mean()) < 1e-12
    assert gap(order, disorder(said, batch.targets) / (3 * 36)) < 1e-12


def test_the_mean_of_a_whole_window_is_a_linear_map():
    """(2) least squares leaves nothing of it; once some numbers are hidden it leaves much."""
    x = torch.from_numpy(windows(prices(400, 4))).double()
    m = model("sspt", size="tiny", length=16, features=5, series=4)
    left = []
    for share in (0.0, 0.3):
        batch = of(objective("window_mean", share=share), m).prepare(Batch(x, torch.zeros(x.shape[:2])), draw(0))
        rows = np.concatenate([batch.tokens.reshape(-1, 80).numpy(), np.ones((batch.targets.numel(), 1))], 1)
        y = batch.targets.reshape(-1).numpy()
        left.append(np.abs(rows @ np.linalg.lstsq(rows, y, rcond=None)[0] - y).max())
        assert gap(batch.targets, x[..., 0].mean(2)) < 1e-14
    assert left[0] < 1e-8 < 1e-4 < left[1]


@pytest.mark.parametrize("share,count", [(0.3, 5), (0.0, 0), (1.0, 16), (0.5, 8)])
def test_as_many_numbers_of_each_feature_are_hidden(share, count):
    """(3) round(share L) of every window and feature, each drawn by itself, and shown as zeros."""
    m = model("sspt", size="tiny", length=16, features=5, series=3)
    x = 1 + normal(4, 3, 16, 5).abs()
    before = x.clone()
    batch = of(objective("window_mean", share=share), m).prepare(Batch(x, torch.zeros(4, 3)), draw(1))
    hidden = batch.tokens == 0
    assert (hidden.sum(2) == count).all() and torch.equal(x, before)
    assert torch.equal(batch.tokens[~hidden], x[~hidden])
    if 0 < share < 1:
        assert (hidden[..., 0] != hidden[..., 1]).any() and (hidden[0] != hidden[1]).any()


@pytest.mark.parametrize("freeze,kept", [
    ("nothing", ()), ("embedding", ("stem.",)), ("attention", ("stem.", "steps.0.")),
    ("everything", ("stem.", "steps.")),
])  # fmt: skip
def test_what_is_frozen_stays_to_the_bit(freeze, kept):
    """(4) through all steps of the ranking, and everything else moves; before it all of it moves but the head."""
    data = make_task(TASK).material(table(prices()))
    system = data.fit(by.spec("sspt", "tiny", pretext="series", pretraining=0.5, freeze=freeze, layers=1))
    run = Run(system, by.build(system), data.order(24, 4, 0), Settings(steps=6, lr=1e-2))
    begun = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    for _ in range(3):
        run.advance()
    learned = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    assert all(torch.equal(begun[name], learned[name]) is name.startswith("head.") for name in begun)
    for _ in range(3):
        run.advance()
    for name, p in run.model.named_parameters():
        assert torch.equal(p, learned[name]) is name.startswith(kept) if kept else not torch.equal(p, learned[name]), (
            name
        )


@pytest.mark.parametrize("wrong", [-1234.0, 0.0, np.nan])
def test_what_is_no_price_never_enters_a_batch(wrong):
    """(5) windows that would need it are zeros and not asked; all others, and what is asked of them, stay."""
    values = prices()
    broken = values.copy()
    broken[20, 2] = wrong
    whole, found = (make_task(TASK).material(table(each)) for each in (values, broken))
    took = []
    for data in (whole, found):
        arrays = [data.order(24, 8, 0).next(step) for step in range(4)] + [data.exam(r, 24).take(slice(None))
                                                                          for r in ("tune", "final")]  # fmt: skip
        took.append(arrays)
        assert all(np.isfinite(each["tokens"]).all() and each["tokens"].min() >= 0 for each in arrays)
    touched = 0
    for a, b in zip(*took):
        gone, empty = ~np.isfinite(b["targets"]), (b["tokens"] == 0).all((2, 3))
        assert np.array_equal(a["tokens"][~empty], b["tokens"][~empty]) and gone[empty].all()
        assert np.allclose(a["targets"][~gone] * whole.scale, b["targets"][~gone] * found.scale, atol=1e-6)
        touched += empty.sum()
    days = np.flatnonzero(~np.isfinite(found.returns[5:-1, 2])) + 5
    assert days.tolist() == [19, *range(20, 26)] and touched > 0 and "1 cells are no price" in found.notes[0]


@torch.no_grad()
def test_permuting_stocks_permutes_scores():
    """(6) within a day, and no stock's score depends on who stands beside it."""
    m, x, turn = model("sspt", **SMALL), normal(3, 6, 4, 2), torch.tensor([3, 0, 5, 1, 2, 4])
    said = m(Batch(x)).prediction["panel_scores"]
    assert said.shape == (3, 6) and gap(m(Batch(x[:, turn])).prediction["panel_scores"], said[:, turn]) < 1e-12
    other = x.clone()
    other[:, 1] = normal(3, 4, 2, seed=5)
    moved = (m(Batch(other)).prediction["panel_scores"] - said).abs() > 1e-6
    assert moved[:, 1].all() and not moved[:, [0, 2, 3, 4, 5]].any()
    returns = normal(3, 6, seed=2)
    assert gap(disorder(said[:, turn], returns[:, turn]), disorder(said, returns)) < 1e-12


def test_nothing_of_later_days_is_shown():
    """(7) other prices after a day move no input of it; another price on it does."""
    values, day = prices(120), 60
    for first, same in ((day + 1, True), (day, False)):
        later = values.copy()
        later[first:] *= 3.0
        shown = [Panel.of(each, 16, (5, 30)).windows(np.arange(45, day + 1)) for each in (values, later)]
        assert np.array_equal(*shown) is same and np.array_equal(shown[0][:-1], shown[1][:-1])
    window = values[day - 15 : day + 1]
    shown = Panel.of(values, 16, (5, 30)).windows(np.array([day]))[0]
    assert np.allclose(shown[..., 0], (window / window.max(0)).T, atol=1e-6)
    assert np.allclose(shown[:, -1, 2], values[day - 29 : day + 1].mean(0) / window.max(0), atol=1e-6)


def test_what_is_asked_is_the_next_return():
    """Day by day, no day whose tomorrow belongs to the next stretch, in units of the days that train."""
    values = prices()
    data = make_task(TASK).material(table(values))
    last, *_ = (part.max() for part in data.parts)
    assert data.parts[0].max() == 34 and data.parts[1].min() == 36 and data.parts[2].max() == 58 and last == 34
    arrays = data.exam("final", 24).take(slice(None))
    want = values[data.parts[2] + 1] / values[data.parts[2]] - 1
    assert np.allclose(arrays["targets"] * data.scale, want, atol=1e-6)
    assert data.scale == pytest.approx(np.std(values[6:36][:-1] / values[5:35][:-1] - 1, ddof=0), rel=0.05)


def test_rank_correlations_are_those_of_scipy():
    """The oracle: spearmanr, with ties and with some not asked; scores that are all alike are worth nothing."""
    rng = np.random.default_rng(0)
    scores, values = rng.integers(0, 5, (20, 9)).astype(float), rng.normal(size=(20, 9))
    values[:, 3] = np.nan
    known = [i for i in range(9) if i != 3]
    want = [spearmanr(a[known], b[known]).statistic for a, b in zip(scores, values)]
    assert np.allclose(rank_correlations(scores, values), want, atol=1e-12)
    assert (rank_correlations(np.ones((2, 9)), values[:2]) == 0).all()


def test_what_a_buyer_gets():
    """The best tenth as said, at least one: mean return, Sharpe and growth, by hand."""
    data = make_task(TASK).material(table(prices()))
    returns = np.array([[0.1, -0.2, 0.3, 0, 0, 0], [0.5, np.nan, -0.5, 0, 0, 0]])
    scores = np.array([[1.0, 3, 2, 0, 0, 0], [1, 9, 2, 0, 0, 0]])
    sums = data.earned(scores, returns / data.scale).sum(0)
    found = data.figures(sums, 2)
    assert found["return"] == pytest.approx(-0.35) and found["Sharpe"] == pytest.approx(-0.35 / 0.15)
    assert found["growth"] == pytest.approx(0.8 * 0.5 - 1)
    perfect = data.earned(np.nan_to_num(returns), returns / data.scale)
    assert np.allclose(perfect[:, 0], 1)


def test_codes_are_named_by_place_and_by_group():
    """Cross entropy over stocks, or over sectors; what is not asked is left out; the head is no part of the model."""
    m = model("sspt", **SMALL)
    batch = Batch(normal(3, 6, 4, 2), normal(3, 6, seed=4))
    batch.targets[0, 1] = torch.nan
    asked = batch.targets.isfinite()
    for told, codes in (
        (dict(series=6), [0, 1, 2, 3, 4, 5]),
        (dict(of="group", series=6, groups=(0, 1, 0, 1, 2, 2)), [0, 1, 0, 1, 2, 2])
    ):  # fmt: skip
        made = of(objective("series_codes", **told), m)
        ((total, count, _),) = made(m, batch).values()
        flow = m.run(m.start(batch))
        scores = m.finish(flow).hidden.mean(1) @ made.head.proj.weight.T + made.head.proj.bias
        chances = scores.view(3, 6, -1).log_softmax(-1)
        want = -chances[:, range(6), codes][asked].sum()
        assert scores.shape[1] == max(codes) + 1 and count == 17 and gap(total, want) < 1e-5


def test_any_recipe_ranks_and_learns_what_the_data_decide():
    """The task fits an unchanged recipe; codes and groups come from the columns."""
    data = make_task(TASK).material(table(prices()))
    for name in ("llama", "gla"):
        system = data.fit(by.spec(name, "tiny"))
        arrays = data.order(24, 2, 0).next(0)
        said = by.build(system)(Batch(torch.from_numpy(arrays["tokens"]))).prediction["panel_scores"]
        assert said.shape == arrays["targets"].shape
    program = data.fit(by.spec("sspt", "tiny", pretext="all"))["program"]
    assert [each["objective"].name for each in program] == ["series_codes", "series_codes", "window_mean", "returns"]
    assert program[0]["objective"]["series"] == 6 and program[1]["objective"]["groups"] == (0, 1, 0, 1, 0, 1)
    assert sum(each["share"] for each in program) == pytest.approx(1)


def test_the_simulated_market_can_be_forecast_and_never_changes():
    """Stocks fall back at speeds of their own: a ridge of the window ranks them, and the past alone does less."""
    data = make_task("rank").material(read(["market"]))
    asked = data.exam("final", data.length)
    found = {name: float(asked.weights @ values) for name, values in data.references("final").items()}
    assert found["ridge"] > 0.1 > found["reversal"] > 0 and found["momentum"] == pytest.approx(-found["reversal"])
    assert len(data.names) == 40 and len(data.sorts) == 4
    first = read(["market"])
    assert (
        first.columns["energy 1"][0] == read(["market"]).columns["energy 1"][0] and first.hash == read(["market"]).hash
    )


def test_mistakes_are_told():
    with pytest.raises(by.UsageError, match="two or more"):
        make_task(TASK).material(Table.of("one", {"x": prices()[:, 0]}))
    with pytest.raises(by.UsageError, match="give more rows"):
        make_task("rank").material(table(prices(50)))
    with pytest.raises(by.UsageError, match="sum below 1"):
        make_task("rank:train=0.8,tune=0.3")
    with pytest.raises(by.UsageError, match="side by side"):
        by.build("llama", size="tiny", **{"model.head": by.Spec("head", "panel_scores")})
    with pytest.raises(by.UsageError, match="6 series of 4 steps"):
        model("sspt", **SMALL)(Batch(normal(2, 5, 4, 2)))
    with pytest.raises(by.UsageError, match="of 2 series, and there are series=6"):
        of(objective("series_codes", of="group", series=6, groups=(0, 1)), model("sspt", **SMALL))
    with pytest.raises(by.UsageError, match="share below 1"):
        by.spec("sspt", "tiny", pretraining=1.0)
