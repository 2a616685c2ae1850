"""Forecasts that say quantiles: the loss is least at the true ones, any forecaster says them, figures are right."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, depth, head, model, objective, residual, stem
from blockyard.task import make_task
from blockyard.train.loop import build_objective
from tests.task.test_forecast import material, table

LEVELS = (0.1, 0.5, 0.9)
ASKED = dict(levels="0.1+0.5+0.9")


def said_of(rows, quantiles):
    """Predictions of these rows, as a head gives them, from quantiles (Q) that are the same everywhere."""
    shape = rows["targets"].shape
    whole = torch.tensor(quantiles, dtype=torch.float64).expand(*shape, len(quantiles)).clone()
    return {"forecast": whole[..., len(quantiles) // 2], "quantiles": whole}


def batch_of(rows):
    return Batch(torch.from_numpy(rows["tokens"]), torch.from_numpy(rows["targets"]))


class Says:
    """A model that says the same quantiles of everything."""

    def __init__(self, quantiles, levels):
        self.quantiles = quantiles
        self.head = type("Head", (), dict(levels=levels, spec=Spec("head", "it")))

    def __call__(self, batch):
        said = {} if self.quantiles is None else {"quantiles": self.quantiles.expand(*batch.targets.shape, -1)}
        return type("Out", (), dict(prediction=said))


def test_the_loss_is_least_at_the_quantiles_of_what_comes():
    loss = by.make("objective:quantile", dim=8)
    targets = torch.arange(1.0, 101.0).view(100, 1, 1)
    batch = Batch(torch.zeros(100, 4, 1), targets)
    for at, level in enumerate((0.1, 0.25, 0.9)):
        found = {}
        for guess in range(1, 101):
            total, count, _ = loss(Says(torch.tensor([guess - 0.5]), (level,)), batch)["quantile"]
            found[guess - 0.5] = float(total / count)
        assert abs(min(found, key=found.get) - 100 * level) <= 1, at


def test_the_loss_by_hand_and_what_is_not_asked():
    loss, nan = by.make("objective:quantile", dim=8), float("nan")
    batch = Batch(torch.zeros(1, 4, 1), torch.tensor([[[2.0], [nan]]]))
    total, count, weight = loss(Says(torch.tensor([1.0, 4.0], requires_grad=True), (0.25, 0.75)), batch)["quantile"]
    assert int(count) == int(loss.counts(batch)["quantile"]) == 1 and weight == 1
    assert total.item() == pytest.approx((0.25 * 1 + 0.25 * 2) / 2)
    total.backward()
    with pytest.raises(UsageError, match="says no quantiles; give it levels"):
        loss(Says(None, ()), batch)


@pytest.mark.parametrize("stem_name,head_name", [("series_patches", "steps_ahead"), ("variates", "variates")])
@torch.no_grad()
def test_a_head_says_each_level_of_each_step_in_the_scale_of_the_window(stem_name, head_name):
    spec = model(
        dim=16, stem=stem(stem_name, length=24, channels=3, outputs=2), blocks=(), residual=residual("prenorm"),
        depth=depth("none"), head=head(head_name, horizon=4, levels=(0.1, 0.4, 0.9)),
    )  # fmt: skip
    m = by.build(spec).double()
    m.head.proj.weight.zero_()
    m.head.proj.bias.copy_(torch.arange(12.0))  # level by level, the steps of each
    x = torch.randn(2, 24, 3, dtype=torch.float64) * 3 + 7
    mean, scale = x.mean(1)[:, :2], (x.var(1, unbiased=False)[:, :2] + 1e-5).sqrt()
    said = m(Batch(x)).prediction
    wanted = torch.arange(12.0, dtype=torch.float64).view(3, 4).T[None, :, None] * scale[:, None, :, None]
    assert (said["quantiles"] - wanted - mean[:, None, :, None]).abs().max() < 1e-9
    assert torch.equal(said["forecast"], said["quantiles"][..., 1])  # nearest to the median


def test_the_objective_has_an_example_of_its_own():
    built = by.build(material(**ASKED).fit(by.spec("patchtst", "tiny", length=24)))
    loss = build_objective(objective("quantile"), built)
    batch = loss.example(built, 3, 24, torch.Generator().manual_seed(0))
    assert batch.tokens.shape == (3, 24, 3) and batch.targets.shape == (3, 8, 3)
    assert int(loss(built, batch)["quantile"][1]) == 72 and batch.targets.std() > 0.5


def test_levels_leave_forecasts_without_them_as_they_were():
    made, data = material(), table()
    said = "forecast:horizon=8,length=24,target=None,split=0.6:0.2:0.2,season=None"
    assert made.hash == hashlib.sha256(f"{data.hash} {said}".encode()).hexdigest() != material(**ASKED).hash
    plain = by.build(made.fit(by.spec("patchtst", "tiny", length=24)))
    assert plain.head.proj.weight.shape[0] == 8 and "levels" not in made.ends.settings and made.metric.name == "mse"


@pytest.mark.parametrize("name", ["llama", "dlinear", "itransformer", "patchtst"])
def test_any_forecaster_is_fitted_without_being_changed(name):
    made = material(target="x1", **ASKED)
    own = by.spec(name, "tiny", length=24) if name == "dlinear" else by.spec(name, "tiny")
    system = made.fit(own)
    assert system["program"][0]["objective"] == objective("quantile")
    assert system["model"]["blocks"] == own["model"]["blocks"]
    built = by.build(system)
    batch = batch_of(made.order(24, 5, 0).next(0))
    said = built(batch).prediction
    assert said["quantiles"].shape == (5, 8, 1, 3) and said["forecast"].shape == (5, 8, 1)
    total, count, _ = build_objective(objective("quantile"), built)(built, batch)["quantile"]
    (total / count).backward()
    assert int(count) == 40 and built.head.proj.weight.grad.unflatten(0, (3, -1)).abs().sum((1, 2)).min() > 0


def test_a_head_that_cannot_say_levels_is_refused():
    made = material(**ASKED)
    made.ends = replace(made.ends, head=head("values"))
    with pytest.raises(UsageError, match="head:values has no setting `levels`"):
        made.fit(by.spec("llama", "tiny"))


def test_figures_are_what_they_say():
    made = material(target="x1", **ASKED)
    exam = made.exam("final", 24)
    rows = exam.take(slice(None))
    quantiles = (-1.0, 0.25, 0.125)  # the highest crosses
    sums = exam.sums(made.amounts(said_of(rows, quantiles), batch_of(rows)).numpy())
    y = rows["targets"].astype(np.float64)
    off = y[..., None] - np.array(quantiles)
    level = np.array(LEVELS)
    lost = np.where(off >= 0, level * off, (level - 1) * off)
    assert exam.weights @ exam.figure(sums, exam.asked) == pytest.approx(lost.mean(), rel=1e-5)
    found = made.figures(sums.sum(0), exam.asked.sum())
    assert set(found) == {metric.name for metric in made.also}
    plain = y * made.series.scale[0] + made.series.offset[0]
    assert found["weighted quantile loss"] == pytest.approx(
        2 * made.series.scale[0] * lost.mean(-1).sum() / abs(plain).sum(), rel=1e-5
    )
    assert found["mse"] == pytest.approx(np.square(y - 0.25).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(abs(y - 0.25).mean(), rel=1e-5)
    assert found["mase"] == pytest.approx((abs(y - 0.25) / made.unit).mean(), rel=1e-4)
    assert found["off level"] == pytest.approx(abs((off < 0).mean((0, 1, 2)) - level).mean(), rel=1e-5)
    inside = (off < 0)[..., -1].mean() - (off < 0)[..., 0].mean()
    assert found["off coverage"] == pytest.approx(abs(inside - 0.8), rel=1e-5) and found["crossing"] == 0.5


def test_the_median_alone_is_half_the_absolute_error():
    made = material(levels="0.5")
    exam = made.exam("tune", 24)
    rows = exam.take(slice(None))
    sums = exam.sums(made.amounts(said_of(rows, (0.3,)), batch_of(rows)).numpy()).sum(0)
    found = made.figures(sums, exam.asked.sum())
    assert sums[0] / exam.asked.sum() == pytest.approx(found["mae"] / 2) and found["crossing"] == 0


def test_what_is_not_asked_counts_nowhere():
    from blockyard.data.table import Table

    data = dict(table().columns)
    data["x1"] = np.where(np.arange(600) % 7 == 3, np.nan, data["x1"])
    made = material(Table.of("gaps", data), target="x1", **ASKED)
    exam = made.exam("final", 24)
    rows = exam.take(slice(None))
    sums = exam.sums(made.amounts(said_of(rows, (9.0, 8.0, 7.0)), batch_of(rows)).numpy()).sum(0)
    found = made.figures(sums, exam.asked.sum())
    known = np.isfinite(rows["targets"]).sum()
    assert exam.asked.sum() == known < rows["targets"].size and list(sums[7:]) == [known] * 3
    assert found["crossing"] == 1 and found["off level"] == pytest.approx((0.9 + 0.5 + 0.1) / 3)
    assert all(np.isfinite(groups).all() for groups in made.references("final").values())


def test_references_say_quantiles_that_hold_where_they_were_fitted():
    made = material(**ASKED)
    exam = made.exam("final", 24)
    found = {name: float(exam.weights @ groups) for name, groups in made.references("final").items()}
    assert list(found) == ["what was usual", "last value", "last season (24)", "ridge"]
    assert found["ridge"] < found["last season (24)"] < min(found["last value"], found["what was usual"])
    windows = made.series.windows(0)
    rows = windows.take(slice(None))
    forecasters = made.forecasters()
    say = made._with_errors(forecasters["last value"], [(rows["tokens"], rows["targets"])])
    below = (rows["targets"][..., None] < say(rows["tokens"])).mean(0)
    assert abs(below - np.array(LEVELS)).max() < 0.01


def test_the_fan_is_drawn_from_the_quantiles():
    made = material(levels="0.05+0.25+0.5+0.75+0.95")
    exam = made.exam("final", 24)
    steps = np.array([-2.0, -1, 0, 1, 2], np.float32) / 10

    def predict(rows):
        last = np.repeat(rows["tokens"][:, -1:], 8, 1)
        return {"forecast": last, "quantiles": last[..., None] + steps}

    *fans, grown, levels = made.exhibits(predict, exam)
    names = [line.name for line in fans[0].lines]
    assert names == ["what was", "what came", "0.05 to 0.95", "0.25 to 0.75", "forecast"]
    outer, inner, middle = fans[0].lines[2:]
    column = made.series.names.index(fans[0].y)
    scale = made.series.scale[column]
    assert np.array(outer.high) - outer.low == pytest.approx([0.4 * scale] * 8, rel=1e-4)
    assert np.array(inner.high) - inner.low == pytest.approx([0.2 * scale] * 8, rel=1e-4)
    assert middle.y == pytest.approx((np.array(outer.low) + outer.high) / 2)
    assert grown.title == "error by step" and levels.lines[1].y == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert levels.lines[0].y == sorted(levels.lines[0].y) and 0 < levels.lines[0].y[0] < levels.lines[0].y[-1] < 1


@pytest.mark.parametrize("levels", ["0.9+0.1", "0.1+0.1", "0+0.5", "a", "1.5", "0.1+"])
def test_levels_that_mean_nothing_are_told(levels):
    with pytest.raises(UsageError, match="that rise, such as"):
        make_task(f"forecast:levels={levels}")
    with pytest.raises(UsageError, match="must rise"):
        by.build("patchtst", "tiny", **{"head.levels": (0.9, 0.1)})
