"""FlexRound: the lines of its card, with slopes by formula and all codes of a small row tried one by one."""

from itertools import product

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.core.spec import depth
from blockyard.transform._base import make_transform
from blockyard.transform._grid import Grid, grid_of
from blockyard.transform._reconstruct import Fit, reconstruct
from blockyard.transform._sweep import projections
from blockyard.transform.adaround import UpOrDown
from blockyard.transform.flexround import Divided

GRIDS = [Grid(4, None, True, whole=True), Grid(3, 8, False), Grid(3, None, True), Grid(2, 8, False)]


def matrix(rows=6, columns=16, seed=0):
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shaken(rounding, size=0.5, seed=1):
    """A rounding whose divisors and steps were learned somehow."""
    draw = torch.Generator().manual_seed(seed)
    for tensor in rounding.learned:
        tensor += size * torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)
    return rounding


def literal_cut(w, grid):
    """Of a hundred shares of a group's range the one that loses least, by numpy: scales and zero points."""
    lowest, highest = grid.ends
    low, high = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
    if grid.whole:
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    found = None
    for share in np.arange(100, 0, -1) / 100:
        wide = 2 * np.maximum(-low, high) if grid.symmetric else high - low
        s = (share * wide / (2**grid.bits - 1)).astype(np.float16).astype(np.float64)[:, None]
        z = 0 * s if grid.symmetric else np.round(-share * low[:, None] / s)
        codes = np.clip(np.round(w / s) + z, lowest, highest)
        lost = (np.abs(w - s * (codes - z)) ** 2.4).sum(1)
        lost = np.full_like(lost, lost.sum()) if grid.whole else lost
        if found is None:
            found = lost, s, codes
        less = (lost < found[0])[:, None]
        found = np.where(less[:, 0], lost, found[0]), np.where(less, s, found[1]), np.where(less, codes, found[2])
    return found[1], found[2]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_1_at_first_it_is_the_nearest_on_the_same_grid(grid):
    """(1) To the bit; and the grid is the one that loses least of all that are tried."""
    w = matrix()
    made, near = Divided(w, grid), grid.nearest(w, cut=True)
    assert torch.equal(made.coded().codes, near.codes) and torch.equal(made.soft(), near.weight)
    wide = grid.width(16)
    for at in range(0, 16, wide):
        s, codes = literal_cut(w[:, at : at + wide].numpy(), grid)
        assert np.array_equal(near.scales[:, at // wide, None].numpy(), s)
        assert np.array_equal(near.codes[:, at : at + wide].numpy(), codes)
    assert (near.weight - w).abs().pow(2.4).sum() < (grid.nearest(w).weight - w).abs().pow(2.4).sum()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_2_what_is_kept_is_whole_numbers_times_a_step(grid):
    """(2)"""
    made = shaken(Divided(matrix(), grid))
    kept = made.coded()
    codes = kept.weight / kept.scales[:, kept.at] + kept.zeros[:, kept.at]
    assert (codes - codes.round()).abs().max() < 1e-6
    assert codes.min() >= grid.ends[0] - 1e-6 and codes.max() <= grid.ends[1] + 1e-6
    assert torch.equal(kept.scales, kept.scales.half().double()) and (kept.scales != made.begun.scales).any()
    assert len(kept.scales.unique()) == 1 or not grid.whole


def test_3_where_a_weight_is_nought_there_is_no_slope():
    """(3) Elsewhere the slope of a divisor is -W / S^2 within the grid, and nothing beyond its ends."""
    w = matrix()
    w[2, :5] = 0
    made = shaken(Divided(w, GRIDS[0]), 0.4)
    for tensor in made.learned:
        tensor.requires_grad_()
    coming = matrix(seed=3)
    (made.soft() * coming).sum().backward()
    s, divisor = made.scales().detach()[:, made.begun.at], (made.each + made.row).exp().detach()
    codes = (w / (s * divisor)).round()
    inside = (codes >= -8) & (codes <= 7)
    want = torch.where(inside, -w / divisor**2, 0.0) * coming * divisor  # of its logarithm
    assert not inside.all() and torch.allclose(made.each.grad, want, rtol=1e-9, atol=1e-12)
    assert (made.each.grad[2, :5] == 0).all() and torch.allclose(made.row.grad, want.sum(1, keepdim=True))
    step = torch.where(inside, codes - w / (s * divisor), codes.clamp(-8, 7)) * coming * s
    assert torch.allclose(made.step.grad, step.sum().view(1, 1), rtol=2e-3)  # s is half


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_4_a_code_stays_on_its_side_of_nought(grid):
    """(4) Where learned up or down it may cross by one."""
    w = matrix(40)
    for size in (0.3, 3.0):
        kept = shaken(Divided(w, grid), size).coded()
        assert ((kept.codes - kept.zeros[:, kept.at]) * w >= 0).all()


def test_5_a_code_may_move_by_more_than_one():
    """(5) A divisor of a quarter makes four times the code; rounding up or down never does that."""
    made = Divided(torch.tensor([[1.0, 7.0, -2.0, 0.4]]).double(), Grid(4, None, True))
    near = made.begun.codes.clone()
    made.each[0, 0] = np.log(0.25)
    moved = made.coded().codes - near
    assert moved[0, 0] >= 3 and (moved[0, 1:] == 0).all()
    other = UpOrDown(matrix(), Grid(4, None, True), 0.1)
    other.up.copy_(10 * matrix(seed=5))
    assert (other.coded().codes - other.begun.codes).abs().max() <= 1


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_up_or_down_begins_as_the_weights_are(grid):
    """Softly it says W, cut to the ends of its grid; what would be kept is the nearest; no penalty in a fifth."""
    w = matrix()
    made, near = UpOrDown(w, grid, 0.1), grid.nearest(w, cut=True)
    s, z = near.scales[:, near.at], near.zeros[:, near.at]
    lowest, highest = (s * (end - z) for end in grid.ends)
    assert torch.allclose(made.soft(), w.clamp(lowest, highest), atol=1e-12)
    assert torch.equal(made.coded().codes, near.codes)
    assert made.penalty(0.19) == 0 < made.penalty(0.21)
    want = (1 - (2 * made.share() - 1).abs() ** 2).mean() / 10
    assert float(made.penalty(1.0)) == pytest.approx(float(want))


def test_a_scale_that_half_precision_cannot_have_is_its_largest():
    found = Grid(4, None, True).nearest(1e7 * matrix())
    assert (found.scales == 65504).all() and found.codes.abs().max() == 8 and found.weight.isfinite().all()


def model(name="llama", **settings):
    return by.build(name, "tiny", **settings).eval()


def data(made, rows=4):
    return [made.example(rows, 16, torch.Generator().manual_seed(seed)) for seed in range(2)]


@pytest.mark.parametrize(
    "what", ["flexround:bits=3,group=matrix", pytest.param("adaround:bits=3", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("rate", [0.02, pytest.param(30.0, marks=pytest.mark.slow)])
def test_6_what_is_kept_loses_no_more_than_the_first(what, rate):
    """(6) Also where a rate is so large that all that is learned is worse."""
    made = model(dim=16, heads=1)
    found = make_transform(f"{what},steps=16,rate={rate},tokens=64").apply(made, data(made)).report["block_error"]
    assert all(last <= first for first, last in found.values()) and len(found) == 2
    assert rate > 1 or all(last < 0.97 * first for first, last in found.values())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_codes_of_a_row_lose_less_than_the_best_of_all(seed):
    """All 8^4 codes of four numbers tried, for 64 rows as they are drawn: what is learned lies between those and the
    nearest in every row, and makes up most of what lies between them in all."""
    w, x = matrix(64, 4, seed=3 * seed), matrix(64 * 30, 4, seed=3 * seed + 1).view(64, 30, 4)
    x = x @ matrix(64 * 4, 4, seed=3 * seed + 2).view(64, 4, 4)
    made, power = Divided(w, Grid(3, None, True)), x.mT @ x

    def lost(of):  # (..., 64) |(of - w) x^T|^2
        return torch.einsum("...ri,rij,...rj->...r", of - w, power, of - w)

    codes = torch.tensor([*product(range(-4, 4), repeat=4)]).double()
    best, near = lost(made.begun.scales * codes[:, None]).amin(0), lost(made.coded().weight)
    learned = [tensor.requires_grad_() for tensor in (made.each, made.row)]
    adam, reached = torch.optim.Adam(learned, 0.02), near
    for _ in range(100):
        adam.zero_grad()
        lost(made.soft()).sum().backward()
        adam.step()
        reached = reached.minimum(lost(made.coded().weight))
    assert (best <= reached * (1 + 1e-9)).all() and (reached <= near).all()
    assert (near - reached).sum() > 0.6 * (near - best).sum() > 0 and (reached < 0.9 * near).double().mean() > 0.3


@torch.no_grad()
def test_a_block_reads_what_the_rounded_ones_before_it_say():
    """What the last block loses is what the whole loses in front of the head: asked of the two models."""
    made = model(dim=16, heads=1)
    shown = data(made)
    found = make_transform("flexround:bits=3,steps=8,tokens=64").apply(made, shown)
    for number, steps in enumerate(made.depth.blocks):
        upto = range(steps[-1] + 1)
        want, got = (torch.cat([each.run(each.start(b), upto).x for b in shown]) for each in (made, found.model.eval()))
        share = float((got - want).square().sum() / want.square().sum())
        assert found.report["block_error"][f"block {number}"][1] == pytest.approx(share, rel=1e-3)


@torch.no_grad()
def test_tokens_that_do_not_count_are_not_learned_from():
    made = model(dim=16, layers=1, heads=1)
    (batch,) = [made.example(4, 12, torch.Generator().manual_seed(0))]
    valid = torch.ones(4, 12, dtype=torch.bool)
    valid[:, 8:] = False
    padded, cut = by.Batch(batch.tokens, valid=valid), by.Batch(batch.tokens[:, :8])
    what = make_transform("flexround:bits=3,steps=4,tokens=1000")
    a, b = (what.apply(made, [each]).report["block_error"]["block 0"] for each in (padded, cut))
    assert a == pytest.approx(b, rel=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("what", ["flexround", "adaround"])
def test_rows_without_a_token_that_counts_change_nothing(what):
    """Also where they are a batch by themselves: there is no mean loss of nothing."""
    made = model(dim=16, layers=1, heads=1)
    row = made.example(1, 12, torch.Generator().manual_seed(0)).tokens
    half = by.Batch(row.expand(2, 12), valid=torch.tensor([[True], [False]]).expand(2, 12))
    fit = make_transform(f"{what}:bits=3,steps=12,tokens=12")
    a, b = (fit.apply(made, [each]).report["block_error"]["block 0"] for each in (half, by.Batch(row)))
    assert a == pytest.approx(b, rel=1e-3)


@torch.no_grad()
def test_a_looped_model_is_one_block():
    spec = by.spec("llama", "tiny", dim=16, heads=2)["model"].but(depth=depth("shared", loops=2))
    made = by.build(spec).eval()
    found = make_transform("flexround:bits=3,steps=4").apply(made, data(made))
    assert list(found.report["block_error"]) == ["block 0"] and len(found.covered) == len(projections(made))


@pytest.mark.parametrize("name", ["llama", *(pytest.param(n, marks=pytest.mark.slow)
                                             for n in ("gla", "gated_deltanet", "mamba2_hybrid"))])  # fmt: skip
@pytest.mark.parametrize("bits, packed", [(4, True), (3, False)])
@torch.no_grad()
def test_a_model_is_saved_as_its_codes(name, bits, packed, tmp_path):
    made = model(name)
    found = make_transform(f"flexround:bits={bits},steps=4").apply(made, data(made))
    assert found.report["packed"] == (len(found.covered) if packed else 0) and "stem" in found.left
    assert found.report["grid_bytes"] < sum(p.weight.numel() for p in projections(made))
    found.model.save(tmp_path / "m")
    ids = data(made)[0].tokens
    assert torch.equal(by.load(tmp_path / "m").eval()(ids).logits, found.model.eval()(ids).logits)
    assert not any("each" in key or "divisor" in key for key in found.model.state_dict())


@torch.no_grad()
def test_the_model_has_the_numbers_of_its_codes():
    made = model(dim=16, layers=1, heads=1)
    grid, fit = Grid(3, None, True, whole=True), Fit(6, 3e-3, 64, 0)
    paths = [part.path for part in projections(made)]
    coded, _ = reconstruct(made, data(made), paths, lambda w: Divided(w, grid), grid, fit)
    small = make_transform("flexround:bits=3,group=matrix,steps=6,tokens=64").apply(made, data(made)).model
    for path in paths:
        assert torch.equal(small.get_submodule(path).weight, coded[path].weight.float())
        assert len(small.get_submodule(path).weight.unique()) <= 8
    assert grid.bytes(6, 64) == (6 * 64 * 3 + 16) // 8 and str(grid) == "3 bits, a matrix"


def test_a_matrix_with_one_scale_is_a_grid_of_its_own():
    """Also of rounding to the nearest, and packed where a store can."""
    w = matrix(20, 64)
    found = grid_of(4, "matrix", True).nearest(w)
    s = np.float64(np.float16(2 * w.abs().max().item() / 15))
    assert np.array_equal(found.codes.numpy(), np.clip(np.round(w.numpy() / s), -8, 7)) and found.block() == 64
    made = make_transform("rtn:bits=4,group=matrix").apply(model()).model
    assert len(made.get_submodule("steps.0.part.qkv").matrix().unique()) <= 16


def test_what_cannot_be_learned_is_a_line():
    with pytest.raises(UsageError, match="transform:flexround is fitted to data"):
        make_transform("flexround").apply(model())
    with pytest.raises(UsageError, match=r"group=rows must be a whole number .* or matrix"):
        make_transform("flexround:group=rows")
    with pytest.raises(UsageError, match=r"no part's path matches '\*.dwon'"):
        make_transform("adaround:keep=*.dwon").plan(model())
