"""What must hold of a survey's map of forecasters, and of a rule that takes the trend out between layers."""

import numpy as np
import pytest
import torch
from system_cases import gap, model, normal

import blockyard as by
from blockyard.catalogue.survey import cells, page, surveys
from blockyard.core import Batch, Call, registry
from blockyard.core.registry import Entry
from blockyard.core.spec import Spec
from blockyard.data.table import Table
from blockyard.parts.residual.decompose import moving_average
from blockyard.task import make_task
from blockyard.train.loop import Settings, train

WINDOW = dict(dim=16, length=24, horizon=12)
STUDY = registry.find("study", "time_series_survey")
SORTED = [entry for entry in registry.entries("recipe").values() if entry.header["Family"] == "series"]


def rule(average, causal=False):
    """The rule of the first step of a small model of 32 channels."""
    split = Spec.of("residual", "decompose", dict(average=average))
    return by.build("llama", "tiny", **{"model.residual": split, "model.causal": causal}).double().steps[0].rule


def averages(length, before, behind):
    """A as a matrix: a row has one share for each token that it reads, ends being read again beyond them."""
    found = np.zeros((length, length))
    for i in range(length):
        for j in range(i - before, i + behind + 1):
            found[i, min(max(j, 0), length - 1)] += 1 / (before + behind + 1)
    return torch.from_numpy(found)


def lanes(made, x, *ys):
    """Both lanes after each of some sublayers wrote."""
    call, found = Call.plain(x, causal=made.causal), []
    carry = made.start(x, call)
    for y in ys:
        carry = made.write(carry, y, call)
        found.append(carry)
    return found


@pytest.mark.parametrize("entry", SORTED, ids=lambda e: e.name)
def test_a_forecaster_has_one_tag_on_each_axis_and_is_what_they_say(entry):
    """(1) five axes, no more and no less; what the tags say of positions, attention and towers is in the spec."""
    axes = STUDY.constant("axes")
    assert len(SORTED) >= 6 and set(entry.tags) == set(axes) and all(entry.tags[a] in axes[a] for a in axes)
    assert entry.header["Tags"].count("=") == len(axes)
    module = entry.load()
    made = module.recipe(**module.sizes["tiny"])["model"]
    mixers = {spec.name for each in made["blocks"] for spec in each.walk() if spec.kind == "mixer"}
    of_mixers = {registry.find("mixer", name).tags.get("attention") for name in mixers} or {"none"}
    assert of_mixers == {entry.tags["attention"]} and (entry.tags["towers"] == "none") is (not mixers)
    stem = made["stem"]
    position = stem.get("position", registry.find("stem", stem.name).settings["position"].usual
                        if "position" in registry.find("stem", stem.name).settings else None)  # fmt: skip
    says = {"learned": "learned", "sinusoidal": "fixed"}
    assert entry.tags["position"] == (says[position.name] if position else "none")


def test_every_cell_of_the_map_says_something():
    """(1) a name, a plan or a reason; the page in the docs is the one that the headers make."""
    found = {(cell.axis, cell.value): cell for cell in cells(STUDY)}
    assert STUDY in surveys() and all(cell.text and bool(cell.names) != bool(cell.note) for cell in found.values())
    assert found["attention", "kernel"].names == ("mixer:linear_attention",)
    assert "patchtst" in found["position", "learned"].names and "dlinear" in found["attention", "none"].names
    docs = registry.ROOT.parent / "docs" / "surveys.md"
    assert docs.read_text(encoding="utf-8") == page(), "run python -m tests.record"


FLAT = {"flat": "", "hierarchical": ""}


@pytest.mark.parametrize("axes,says", [
    ({"colour": {"red": "out of scope: a reason"}}, "no tag colour="),
    ({"levels": {"hierarchical": ""}}, "is none of hierarchical"),
    ({"levels": {**FLAT, "deep": ""}}, "nobody carries levels=deep"),
    ({"levels": {**FLAT, "deep": "planned: no-such-system"}}, "neither"),
    ({"levels": {**FLAT, "deep": "out of scope: "}}, "neither"),
    ({"levels": {**FLAT, "deep": "planned: itransformer"}}, "is there, and its header does not say"),
])  # fmt: skip
def test_a_map_with_a_hole_is_refused(axes, says, tmp_path):
    """(1) a missing tag, an unknown value, an empty cell, a plan of nothing, a plan that has come true."""
    file = tmp_path / "some.py"
    file.write_text(f'"""Some?"""\nsorts = "series"\naxes = {axes!r}\ndef study(): ...\n')
    with pytest.raises(by.UsageError, match=says):
        cells(Entry("study", "some", "some", file))


def test_an_axis_that_stands_twice_is_refused(tmp_path):
    """(1) a dictionary alone would keep the last."""
    file = tmp_path / "some.py"
    file.write_text('"""Some.\n\nSource   none    Family  series\nTags     levels=flat, levels=hierarchical\n"""\n')
    with pytest.raises(by.UsageError, match="axis twice"):
        _ = Entry("recipe", "some", "some", file).tags


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_what_is_kept_and_what_is_moved_is_what_was_there(causal):
    """(2) after each sublayer, to rounding; and what is moved is the average of what was kept, by a matrix."""
    x, y, z = (normal(2, 12, 32, seed=seed) for seed in range(3))
    (s1, m1), (s2, m2) = lanes(rule(5, causal), x, y, z)
    assert gap(s1 + m1, x + y) < 1e-14 and gap(s2 + m2, x + y + z) < 1e-14
    a = averages(12, 4, 0) if causal else averages(12, 2, 2)
    assert gap(m1, a @ (x + y)) < 1e-12 and gap(m2, m1 + a @ (s1 + z)) < 1e-12
    assert gap(m1, averages(12, 3, 1) @ (x + y)) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_an_average_of_one_moves_everything(causal):
    """(3) what is kept are exact zeros, with padding too; a wider one keeps something."""
    x, y = normal(2, 12, 32), normal(2, 12, 32, seed=1)
    ((kept, moved),) = lanes(rule(1, causal), x, y)
    assert not kept.any() and torch.equal(moved, x + y)
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[:, :3] = False
    padded = moving_average(x, Call.plain(x)._replace(valid=valid), 0, 0)
    assert torch.equal(padded[:, 3:], x[:, 3:]) and lanes(rule(3, causal), x, y)[0][0].any()


@torch.no_grad()
def test_packed_documents_and_gaps_are_averaged_as_if_alone():
    """(2) ends are those of a document, and a token that does not count is skipped."""
    x = normal(1, 9, 4)
    segment, valid = torch.tensor([[0] * 4 + [1] * 5]), torch.tensor([[1, 1, 0, 1, 1, 1, 1, 0, 1]]).bool()
    found = moving_average(x, Call.plain(x)._replace(segment=segment, valid=valid), 2, 2)
    for places in ([0, 1, 3], [4, 5, 6, 8]):
        assert gap(found[0, places], averages(len(places), 2, 2) @ x[0, places]) < 1e-12


@torch.no_grad()
def test_the_forecast_is_read_off_both_lanes():
    """(2) without sublayers the split changes nothing, for the trend comes back at the end; with them it does."""
    both = dict(WINDOW, channels=2, outputs=2)
    plain, split = (model("series_transformer", size="tiny", **both, **{"model.residual": name})
                    for name in ("prenorm", "decompose"))  # fmt: skip
    split.load_state_dict(plain.state_dict())
    x = Batch(normal(3, 24, 2))
    assert gap(split(x).prediction["forecast"], plain(x).prediction["forecast"]) > 1e-3
    for each in (plain, split):
        for step in each.steps:
            for p in step.part.parameters():
                p.zero_()
    assert gap(split(x).prediction["forecast"], plain(x).prediction["forecast"]) < 1e-12


@torch.no_grad()
def test_the_steps_ahead_show_nothing_and_are_all_that_is_read():
    """Their tokens are bias and position; what stands at the window's own tokens reaches a forecast by attention."""
    made = model("series_transformer", size="tiny", **WINDOW, channels=3, outputs=2, **{"stem.scaling": None})
    x = normal(2, 24, 3)
    stream = made.start(Batch(x)).x
    assert stream.shape == (2, 36, 16) and torch.equal(stream[0, 24:], stream[1, 24:])
    assert gap(stream[0, :24], stream[1, :24]) > 0.1
    said = made.head(stream, made.start(Batch(x)).call, None)[0]["forecast"]
    assert said.shape == (2, 12, 2) and torch.equal(said[0], said[1])
    at = stream[0, 24:] @ made.head.proj.weight.T + made.head.proj.bias
    assert gap(said[0], at) < 1e-12 and gap(made(Batch(x)).prediction["forecast"][0], at) > 1e-2


@torch.no_grad()
def test_forecasts_follow_level_and_scale_of_each_variable():
    """Scaled windows: f(a x + b) = a f(x) + b, quantiles too; without scaling not."""
    x, a, b = 10 * normal(2, 24, 3), torch.tensor([3.0, 1, 2]).double(), torch.tensor([-90.0, 4, 0]).double()
    for settings, holds in (({}, True), ({"stem.scaling": None}, False)):
        wide = dict(WINDOW, channels=3, outputs=3) | {"head.levels": (0.1, 0.5)}
        made = model("series_transformer", size="tiny", **wide, **settings)
        one, other = (made(Batch(each)).prediction for each in (x, a * x + b))
        for name, at in (("forecast", (a, b)), ("quantiles", (a[:, None], b[:, None]))):
            assert (gap((other[name] - at[1]) / at[0], one[name]) < 1e-3) is holds
        assert one["quantiles"].shape == (2, 12, 3, 2) and torch.equal(one["quantiles"][..., 1], one["forecast"])


def test_a_cell_of_the_sweep_repeats_to_the_bit():
    """(4) the same cell and seed give the same curve and numbers; another seed does not."""
    waves = Table.of("waves", {"x": np.sin(np.arange(120) / 3), "y": np.cos(np.arange(120) / 5)})
    task = make_task("forecast:horizon=4,length=12").material(waves)
    system = task.fit(by.spec("series_transformer", "tiny", **{"model.residual": "decompose"}))
    done = [
        train(system, by.build(system, seed=seed), task.order(12, 8, seed), Settings(4, 3e-3)) for seed in (0, 0, 1)
    ]
    first, again, other = (list(each.model.parameters()) for each in done)
    assert done[0].curve == done[1].curve != done[2].curve
    assert all(torch.equal(p, q) for p, q in zip(first, again))
    assert not all(torch.equal(p, q) for p, q in zip(first, other))


@torch.no_grad()
def test_the_split_is_that_of_autoformer():
    """The oracle: the layer of transformers, with its ends; another width is not it."""
    autoformer = pytest.importorskip("transformers.models.autoformer.modeling_autoformer")
    x = normal(2, 20, 32)
    for width, same in ((7, True), (5, False)):
        config = pytest.importorskip("transformers").AutoformerConfig(moving_average=width)
        season, trend = autoformer.AutoformerSeriesDecompositionLayer(config)(x)
        ((kept, moved),) = lanes(rule(7), x, torch.zeros_like(x))
        assert (gap(kept, season) < 1e-12 and gap(moved, trend) < 1e-12) is same


def test_an_even_average_and_a_stem_without_steps_ahead_are_refused():
    with pytest.raises(by.UsageError, match="odd"):
        rule(4)
    with pytest.raises(by.UsageError, match="horizon of the stem"):
        by.build("patchtst", size="tiny", **{"model.head": by.Spec("head", "points_ahead")})
