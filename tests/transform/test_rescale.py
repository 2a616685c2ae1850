"""Factors that move from what reads to what writes: what a model says stays, and only where it does are they moved."""

import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.model.model import make
from blockyard.model.save import stored
from blockyard.transform._base import make_transform
from blockyard.transform._grid import Grid
from blockyard.transform._seams import rescaled, seams
from blockyard.transform._sweep import second_moment, sweep
from blockyard.transform.awq import powered


def model(name="llama", **settings):
    return by.build(name, "tiny", **settings).eval()


def example(made, seed=1):
    return made.example(2, 16, torch.Generator().manual_seed(seed))


def says(made):
    with torch.no_grad():
        return next(iter(made(example(made)).prediction.values()))


def test_where_factors_can_move_is_found():
    found = {seam.path: seam.readers for seam in seams(model(heads=2))}
    assert found == {
        f"steps.{2 * i + j}.{path}": (f"steps.{2 * i + j}.part.{reader}",)
        for i in range(2)
        for j, path, reader in (
            (0, "rule.norm", "qkv"), (0, "part.qkv", "out"), (1, "rule.norm", "up"), (1, "part.up", "down"),
        )
    }  # fmt: skip


@pytest.mark.parametrize("name, some", [
    ("llama", {"steps.0.part.qkv"}), ("gla", {"steps.0.rule.norm", "steps.0.part.norm"}),
    ("mamba2_hybrid", {"steps.0.part.norm", "steps.2.part.qkv"}), ("gpt2", {"steps.0.rule.norm"}),
    pytest.param("gated_deltanet", {"steps.0.part.norm"}, marks=pytest.mark.slow),
    pytest.param("bert", {"steps.0.part.qkv"}, marks=pytest.mark.slow),
])  # fmt: skip
def test_moved_anywhere_they_change_nothing(name, some):
    """Every place at once, by other factors each; only the one side of it changes what is said."""
    made = model(name)
    every, draw, want = seams(made), torch.Generator().manual_seed(3), says(made)
    assert {seam.path for seam in every} >= some
    factors = {seam.path: 0.2 + 4 * torch.rand(seam.size, generator=draw).double() for seam in every}
    moved = rescaled(made, factors, every)
    assert (says(moved) - want).abs().max() < 1e-4 * want.abs().max()
    for seam in every:
        before, after = stored(made), stored(moved)
        assert all(not torch.equal(before[name], after[name]) for name, _ in seam.columns)
    half = rescaled(made, {}, [])
    for name, _ in every[0].columns:
        stored(half)[name].data.copy_(stored(moved)[name])
    assert (says(half) - want).abs().max() > 1e-3 * want.abs().max() and torch.equal(says(made), want)


def test_factors_go_where_the_model_is():
    """Factors are made beside it: tensors of another device say so where the two would meet."""
    made = model()
    seam = next(seam for seam in seams(made) if seam.rows)
    held = {name: stored(made)[name].to("meta") for name in (*seam.rows, *(name for name, _ in seam.columns))}
    moved = seam.moved(made, held, torch.ones(seam.size, dtype=torch.float64))
    assert moved.keys() == held.keys() and all(tensor.is_meta for tensor in moved.values())


def test_what_would_not_be_exact_is_left():
    """Behind a squared rectifier a factor counts twice; of a norm behind the stream all that follows reads it."""
    assert not any(path.endswith("part.up") for path in (seam.path for seam in seams(model("mamba2_hybrid"))))
    assert all(seam.readers == (f"steps.{i}.part.out",) for i, seam in zip((0, 2), seams(model("bert"))))


def test_heads_that_share_values_share_factors():
    made = model(heads=4, **{"mixer.kv_heads": 2})
    (seam,) = (seam for seam in seams(made) if seam.path == "steps.0.part.qkv")
    assert seam.size == 16 and seam.spread.tolist() == [*range(8), *range(8), *range(8, 16), *range(8, 16)]
    assert seam.start == 32 + 16  # behind queries and keys


@pytest.mark.parametrize("name", ["rms", "layer", "layer_gain", "rms_unit_offset", "crms", "dynamic_tanh", "group_rms"])
@torch.no_grad()
def test_a_norm_says_its_tensors_of_a_larger_output(name):
    norm = make(f"norm:{name}", dim=6).double()
    draw = torch.Generator().manual_seed(0)
    for p in norm.parameters():
        p.add_(torch.randn(p.shape, generator=draw, dtype=p.dtype) * 0.3)
    x, factor = torch.randn(4, 6, generator=draw, dtype=torch.float64), torch.rand(6, generator=draw).double() + 0.5
    want = norm(x) * factor
    for key, tensor in norm.times(factor).items():
        getattr(norm, key).copy_(tensor)
    assert torch.allclose(norm(x), want, rtol=1e-12) and not make("norm:l2", dim=6).times(factor)


@torch.no_grad()
def test_planted_channels_are_so_many_times_as_large():
    made = model()
    found = make_transform("rescale:factor=50,channels=3").apply(made)
    assert set(found.covered) == {f"steps.{i}.rule.norm" for i in range(4)} and "steps.0.part.qkv" in found.left
    assert (says(found.model) - says(made)).abs().max() < 1e-5 * says(made).abs().max()
    for path, channels in found.report["channels"].items():
        ratio = found.model.get_submodule(path).gain / made.get_submodule(path).gain
        assert len(set(channels)) == 3 and torch.allclose(ratio[channels], torch.tensor(50.0))
        assert (ratio != 1).sum() == 3
    other = make_transform("rescale:seed=1").apply(made).report["channels"]
    assert other != found.report["channels"]


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "gla"])
def test_activation_aware_factors_lose_least_on_data(name):
    """A power of the mean size of what is read, which is found by trying all: here again, literally."""
    made, grid = model(name), Grid(3, 8, False)
    data = [example(made, 0), example(made, 2)]
    found = make_transform("awq:bits=3,group=8,symmetric=no,tries=5").apply(made, data)
    assert (says(found.model) - says(made)).abs().max() < 1e-4 * says(made).abs().max()
    seam = next(seam for seam in seams(made) if seam.path in found.covered)
    reader = made.get_submodule(seam.readers[0])
    rows = next(torch.cat(list(rows)).double() for part, rows in sweep(made, data) if part is reader)
    h, w, size = second_moment(iter([rows])), reader.weight.double(), rows.abs().mean(0)
    lost = {}
    for i in range(5):
        s = size ** (i / 5) / ((size ** (i / 5)).max() * (size ** (i / 5)).min()).sqrt()
        d = grid.nearest(w * s).weight / s - w
        lost[i / 5] = float(torch.trace(d @ h @ d.T))
    best = min(lost, key=lost.get)
    assert found.report["exponent"][seam.path] == best
    assert found.report["error"][seam.path] == pytest.approx(lost[best] / lost[0])
    s = powered(size, best)
    ours = found.model.get_submodule(seam.readers[0]).weight.double() / w
    assert torch.allclose(ours / ours[:, :1], (s / s[0]).expand_as(ours), rtol=1e-4) or seam.path != "steps.0.rule.norm"


def test_large_inputs_are_what_it_saves():
    """With a few large channels it loses much less than the nearest, in the same bits."""
    made = make_transform("rescale:factor=8,channels=2").apply(model()).model
    data, want = [example(made, 0), example(made, 2)], says(made)
    loss = {}
    for how in ("rtn:bits=4,group=none", "awq:bits=4,group=none|rtn:bits=4,group=none"):
        small = made
        for each in how.split("|"):
            small = make_transform(each).apply(small, data).model.eval()
        loss[how] = float((says(small) - want).norm())
    plain, aware = loss.values()
    assert aware < 0.8 * plain


def test_what_cannot_be_rescaled_is_named():
    with pytest.raises(
        UsageError, match=r"nothing at head.norm can be rescaled exactly; what can is steps.0.rule.norm"
    ):
        make_transform("rescale:on=head.norm").plan(model())
    with pytest.raises(UsageError, match=r"no part's path matches 'steps.\*.nrom'"):
        make_transform("rescale:on=steps.*.nrom").plan(model())
    with pytest.raises(UsageError, match="is fitted to data"):
        make_transform("awq").apply(model())
    with pytest.raises(UsageError, match="could be rescaled exactly"):
        make_transform("awq:keep=(*.qkv,*.up,*.out,*.down)").plan(model())
