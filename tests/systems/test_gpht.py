"""What must hold of stages that forecast segments, each what the coarser ones left over."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from system_cases import gap, model, normal
from torch.nn.functional import gelu, layer_norm

import blockyard as by
from blockyard.core import Batch, Spec
from blockyard.core.errors import UsageError
from blockyard.decode.rollout import rollout
from blockyard.model.save import load_model, save_model
from blockyard.study import gpht as study
from blockyard.study._base import FAILS, HOLDS, OPEN
from blockyard.task import make_task
from blockyard.train.loop import build_objective
from blockyard.train.schedule import learned
from tests.task.test_forecast import table

L, S = 48, 12


def made(seed=1, **settings):
    return model("gpht", seed, size="tiny", **dict(length=L, horizon=S) | settings)


def segments(m, x):
    return m(Batch(x)).prediction["segments"]


@torch.no_grad()
def moved(m, k):
    """(n,) by how much a change of segment k moves what is said behind each segment."""
    x = normal(2, L, 1)
    other = x.clone()
    other[:, k * S : (k + 1) * S] += normal(2, S, 1, seed=3)
    off = (segments(m, other) - segments(m, x)).abs().amax((0, 2))
    return off.unflatten(0, (-1, S)).amax(1)


@pytest.mark.parametrize("k", range(4))
def test_without_scaling_no_segment_is_foretold_from_itself(k):
    """(1) perturbing segment k changes no output that forecasts a segment up to k."""
    off = moved(made(stages=3, **{"stem.scaling": None}), k)
    assert (off[:k] == 0).all() and (off[k:] > 1e-6).all()


def test_with_scaling_the_statistics_of_the_window_leak():
    """(2) the same change moves every forecast: mean and deviation are of the whole window."""
    assert (moved(made(stages=3), 3) > 1e-6).all()


@torch.no_grad()
def test_one_stage_that_does_not_pool_is_a_causal_patch_decoder():
    """(3) to rounding the patches, one layer of attention and a map to the next patch, written out."""
    m = made(stages=1)
    x = normal(2, L, 1)
    w = dict(m.named_parameters())
    offset = x.mean(1, keepdim=True)
    scale = ((x - offset).square().mean(1, keepdim=True) + 1e-5).sqrt()
    h = ((x - offset) / scale).view(2, 4, S) @ w["stem.proj.weight"].T + w["stem.proj.bias"]
    h = m.stem.position.at_input(h, m.start(Batch(x)).call)
    flow = m.start(Batch(x))
    assert gap(flow.x, h) < 1e-14
    attended = m.steps[0].part(h, flow.call, None)[0]
    h = layer_norm(h + attended, (32,), *_affine(m.steps[0]), m.steps[0].rule.norm.eps)
    inner = gelu(h @ w["steps.1.part.up.weight"].T + w["steps.1.part.up.bias"])
    inner = inner @ w["steps.1.part.down.weight"].T + w["steps.1.part.down.bias"]
    h = layer_norm(h + inner, (32,), *_affine(m.steps[1]), m.steps[1].rule.norm.eps)
    said = (h @ w["head.proj.weight"].T + w["head.proj.bias"]).view(2, L, 1) * scale + offset
    assert gap(segments(m, x), said) < 1e-13
    assert torch.equal(m(Batch(x)).prediction["forecast"], segments(m, x)[:, -S:])


def _affine(step):
    norm = step.rule.norm
    return norm.gain, norm.bias


@torch.no_grad()
def test_the_first_steps_of_a_longer_rollout_are_the_short_one():
    """(4) and the next ones are those of the window that ends with them, scaled anew."""
    m, x = made(channels=3, outputs=3), normal(2, L, 3)
    short, long = rollout(m, x, S), rollout(m, x, 2 * S + 5)
    assert torch.equal(long[:, :S], short) and long.shape == (2, 2 * S + 5, 3)
    assert torch.equal(short, m(Batch(x)).prediction["forecast"])
    then = m(Batch(torch.cat([x[:, S:], short], 1))).prediction["forecast"]
    assert gap(long[:, S : 2 * S], then) < 1e-14


@torch.no_grad()
def test_a_stage_that_is_right_leaves_nothing_but_the_first_segment():
    """(5) exactly; a shift by one step in place of a segment would leave much."""
    m = made(**{"stem.scaling": None})
    stage = next(step.part for step in m.steps if step.part.spec.kind == "junction")
    series = normal(1, S, 1).repeat(1, L // S, 1)  # every segment is the one before it
    stage.say.weight.zero_()
    stage.say.bias.copy_(series[0, :S, 0])
    seen = {}
    stage.register_forward_hook(lambda part, args, out: seen.update(out[1].conditions))
    m(Batch(series))
    assert torch.equal(seen["left"][:, 0], series[:, :S, 0]) and (seen["left"][:, 1:] == 0).all()
    assert torch.equal(seen["said"].flatten(1), series[..., 0])


def test_channels_do_not_interact():
    """(6) the gradient of a channel's forecast by another channel is 0."""
    m, x = made(channels=3, outputs=3), normal(1, L, 3).requires_grad_()
    (found,) = torch.autograd.grad(segments(m, x)[..., 1].sum() + m(Batch(x)).prediction["forecast"][..., 1].sum(), x)
    assert (found[..., [0, 2]] == 0).all() and found[..., 1].abs().max() > 1e-6


@torch.no_grad()
def test_what_all_stages_say_is_added_up_and_scaled_back():
    m, x = made(stages=3), 5 * normal(2, L, 1) + 40
    offset, scale = x.mean(1, keepdim=True), (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    said = []
    for step in m.steps:
        if step.part.spec.kind == "junction":
            step.part.say.register_forward_hook(lambda part, args, out: said.append(out))
    m.head.proj.register_forward_hook(lambda part, args, out: said.append(out))
    found = segments(m, x)
    assert len(said) == 3 and gap(found, sum(said).view(2, L, 1) * scale + offset) < 1e-12


@torch.no_grad()
def test_coarse_stages_read_means():
    """A wave inside the steps that are one is not seen, whatever it is; where nothing is pooled it is."""
    x, wave = normal(1, L, 1), torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(L // 2)[None, :, None]
    for pool, same in ((2, True), (1, False)):
        m = made(**{"stem.pool": pool, "stem.scaling": None})
        first, other = m.start(Batch(x)).x, m.start(Batch(x + wave)).x
        assert (gap(first, other) < 1e-12) == same
    assert made(horizon=9, **{"stem.pool": 6}).axes["stem.patch"].size == 3  # 9 and 6 share a 3


@torch.no_grad()
def test_every_segment_teaches_and_what_is_not_known_is_not_asked():
    m = made(channels=3, outputs=2).float()
    x, y = normal(2, L, 3).float(), normal(2, S, 2).float()
    y[0, 3, 1] = torch.nan
    loss = build_objective(Spec("objective", "next_segment"), m)
    total, count, _ = loss(m, Batch(x, y))["segments"]
    assert int(count) == int(loss.counts(Batch(x, y))["segments"]) == 2 * L * 2 - 1
    off = segments(m, x) - torch.cat([x[:, S:, :2], y], 1)
    assert total.item() == pytest.approx(off.nan_to_num().square().sum().item(), rel=1e-5)
    with pytest.raises(UsageError, match="head:steps_ahead says no segments"):
        other = by.build("patchtst", "tiny", length=L, horizon=S, channels=3, outputs=2)
        loss(other, Batch(x, y))


def test_the_task_makes_segments_of_its_horizon_and_windows_need_not_be_whole():
    """A window of 50 steps at a horizon of 8 is read from its third step on, as six segments."""
    made_of = make_task("forecast:horizon=8,length=50").material(table())
    m = by.build(made_of.fit(by.spec("gpht", "tiny"))).double()
    x = torch.from_numpy(made_of.order(50, 3, 0).next(0)["tokens"]).double().requires_grad_()
    said = m(Batch(x)).prediction
    assert said["forecast"].shape == (3, 8, 3) and said["segments"].shape == (3, 48, 3)
    (found,) = torch.autograd.grad(said["forecast"].sum(), x)
    assert (found[:, :2] == 0).all() and found[:, 2:].abs().max() > 0


def test_after_pretraining_heads_alone_train():
    program = by.spec("gpht", "tiny", pretraining=0.8, stages=3)["program"]
    m = by.build("gpht", "tiny", stages=3)
    names = learned(m, program[1]["train"])
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in names} == {"say", "proj"}
    assert {name for name in names if ".proj." in name} == {"head.proj.weight", "head.proj.bias"}
    assert program[0]["train"] == "*" and len(by.spec("gpht", "tiny")["program"]) == 1


def test_who_is_tuned_to_nothing_trains_on_other_series_alone():
    """pretraining=1 is read as it is: there is one phase, on the rows that were named for it."""
    named = dict(first_data="series_families", first_series="series")
    (only,) = by.spec("gpht", "tiny", pretraining=1, **named)["program"]
    first, second = by.spec("gpht", "tiny", pretraining=0.9, **named)["program"]
    assert only == first.but(share=1) and only["data"] == ("series_families",) and not second.get("data")


def test_who_has_the_series_alone_stops_where_the_tuning_stretch_is_best(monkeypatch):
    """Its test error is that of this moment, not its best one and not the one in the end; all steps are paid for."""
    tuning, test, asked = [3.0, 1.0, 2.0, 0.9, 5.0, 1.0], [9.0, 4.0, 1.0, 6.0, 2.0, 7.0], []

    def scored(model, rows, role):
        if role == "tune":
            asked.append([p.detach().clone() for p in model.parameters()])
        return (tuning if role == "tune" else test)[len(asked) - 1]

    monkeypatch.setattr(study, "scored", scored)
    shape = by.spec("gpht", "tiny", length=study.LENGTH, horizon=24)["model"]
    found = study.from_scratch(shape, 3, 6, 4)
    assert found == pytest.approx({"error": 6.0, "share of the steps": 4 / 6, "error in the end": 7.0})
    assert all(not torch.equal(asked[i][0], asked[i + 1][0]) for i in range(5)), "a step lies between"
    asked.clear()
    study.from_scratch(shape, 3, 6, 4)
    again = asked[5][0]
    asked.clear()
    study.from_scratch(shape, 4, 6, 4)
    assert not torch.equal(asked[5][0], again)


def test_errors_are_held_against_it_seed_by_seed():
    """A mean below the bar with one seed above it decides nothing; nor does a seed that is not known."""
    mine = SimpleNamespace(score=SimpleNamespace(per_seed=[0.1, 0.1, 0.95]))
    report = SimpleNamespace(arm=lambda name: mine)
    judge = study.of_alone("tuned", 0.9).judge
    figures = [{"error": 1.0, "error in the end": 9.0} for _ in range(3)]
    assert judge(report, figures) == (OPEN, pytest.approx(1.15 / 3), 0.9)
    mine.score.per_seed[2] = 0.9
    assert judge(report, figures).verdict == HOLDS
    mine.score.per_seed[2] = None
    assert judge(report, figures).verdict == OPEN
    mine.score.per_seed[:] = [0.95, 2.0, 1.0]
    assert judge(report, figures).verdict == FAILS


@torch.no_grad()
def test_any_forecaster_is_rolled_out_and_one_of_some_columns_is_refused():
    m, x = model("nlinear", size="tiny", length=24, horizon=4, channels=2, outputs=2), normal(2, 24, 2)
    found = rollout(m, x, 10)
    assert found.shape == (2, 10, 2)
    assert gap(found[:, 4:8], m(Batch(torch.cat([x[:, 4:], found[:, :4]], 1))).prediction["forecast"]) < 1e-14
    with pytest.raises(UsageError, match="reads 2 columns and forecasts 1"):
        rollout(model("nlinear", size="tiny", length=24, horizon=4, channels=2, outputs=1), x, 10)
    with pytest.raises(UsageError, match="forecasts nothing"):
        rollout(by.build("llama", "tiny"), torch.zeros(1, 4, dtype=torch.int64), 2)


@torch.no_grad()
def test_it_is_saved_and_comes_back(tmp_path):
    m, x = made(stages=3).float(), normal(1, L, 1).float()
    save_model(m, tmp_path / "m")
    assert np.array_equal(segments(load_model(tmp_path / "m"), x), segments(m, x))
