"""GPTQ: the lines of its card, against a literal solver that inverts again at every column."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.kernels.weights import dense
from blockyard.model.save import stored
from blockyard.transform._base import make_transform
from blockyard.transform._grid import Grid
from blockyard.transform._sweep import projections, second_moment, sweep
from blockyard.transform.gptq import solve

F64 = torch.float64
GRIDS = [Grid(4, None, False), Grid(3, 8, True), Grid(2, 8, False), Grid(4, 16, True)]


def case(rows=6, columns=32, tokens=40, seed=0):
    """W and the second moment of correlated inputs."""
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, columns, dtype=F64, generator=rng)
    mix = torch.randn(columns, columns, dtype=F64, generator=rng)
    x = torch.randn(tokens, columns, dtype=F64, generator=rng) @ mix
    return w, 2 * x.T @ x / tokens


def damped(h, share=0.01):
    return h + share * h.diagonal().mean() * torch.eye(len(h), dtype=F64)


def literal(w, h, bits, group, symmetric):
    """Optimal brain quantisation, column by column in their order: the rest of H is inverted anew every time."""
    w, h, columns = w.copy(), h.copy(), w.shape[1]
    codes = np.zeros_like(w)
    for j in range(columns):
        if j % group == 0:
            part = w[:, j : j + group]
            low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
            wide = 2 * np.maximum(-low, high) if symmetric else high - low
            s = (wide / (2**bits - 1)).astype(np.float16).astype(np.float64)
            z = 0 * s if symmetric else np.round(-low / s)
        ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
        codes[:, j] = np.clip(np.round(w[:, j] / s) + z, *ends)
        inverse = np.linalg.inv(h[j:, j:])
        w[:, j:] -= np.outer((w[:, j] - s * (codes[:, j] - z)) / inverse[0, 0], inverse[0])
    return codes


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_oracle_gives_the_same_codes(grid):
    w, h = case()
    found = solve(w, h, grid).coded
    want = literal(w.numpy(), damped(h).numpy(), grid.bits, grid.width(32), grid.symmetric)
    assert np.array_equal(found.codes.numpy(), want)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_1_what_is_lost_is_what_the_errors_say(grid):
    w, h = case()
    found = solve(w, h, grid)
    change, h = w - found.coded.weight, damped(h)
    assert (change - found.errors @ found.factor).abs().max() < 1e-9 * change.abs().max()
    assert abs(torch.trace(change @ h @ change.T) / found.errors.square().sum() - 1) < 1e-9
    assert torch.equal(found.factor, found.factor.triu()) and torch.allclose(found.factor.T @ found.factor, h.inverse())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_2_the_block_changes_no_code(grid):
    w, h = case(columns=160, tokens=200)
    codes = [solve(w, h, grid, block=block).coded.codes for block in (1, 7, 128, 160)]
    assert all(torch.equal(each, codes[0]) for each in codes[1:])


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_3_inputs_of_equal_power_round_to_the_nearest(grid):
    w, _ = case()
    found = solve(w, 3.0 * torch.eye(32, dtype=F64), grid).coded
    assert torch.equal(found.codes, grid.nearest(w).codes)
    w, h = case()
    assert not torch.equal(solve(w, h, grid).coded.codes, grid.nearest(w).codes)


@pytest.mark.parametrize("act_order", [False, True])
def test_4_rows_do_not_depend_on_one_another(act_order):
    """(4)"""
    w, h = case()
    whole = solve(w, h, Grid(3, 8, False), act_order).coded
    some = solve(w[[4, 1]], h, Grid(3, 8, False), act_order).coded
    assert torch.equal(whole.codes[[4, 1]], some.codes) and torch.equal(whole.scales[[4, 1]], some.scales)


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if not grid.symmetric], ids=str)
def test_5_weights_on_the_grid_come_back(grid):
    """(5) With zero points: the ends of a symmetric grid lie half a step beyond its codes, so it is fitted anew."""
    w, h = case()
    on = grid.nearest(w).weight
    assert torch.equal(grid.nearest(on).weight, on)
    assert (solve(on, h, grid).coded.weight - on).abs().max() < 1e-9


@pytest.mark.parametrize("bits,group,block", [(4, 32, 32), (8, 64, 64), (4, None, 64), (8, 96, 32)])
def test_6_packed_and_unpacked_are_the_same(bits, group, block):
    """(6)"""
    w, h = case(rows=21, columns=200, tokens=300)
    found = solve(w, h, Grid(bits, group, True)).coded
    assert found.block() == block
    again = dense(found.packed(block), bits, block, 200)[:21]
    assert torch.equal(again, found.weight.float())


def test_6_what_no_store_packs_stays_in_full():
    """(6)"""
    w, h = case(columns=64)
    grids = (Grid(3, 32, True), Grid(4, 32, False), Grid(4, 24, True))
    assert [solve(w, h, grid).coded.block() for grid in grids] == [None] * 3
    assert Grid(3, 32, True).bytes(6, 64) == (6 * 64 * 3 + 6 * 2 * 16) // 8
    assert Grid(4, None, False).bytes(6, 64) == (6 * 64 * 4 + 6 * 20) // 8


def test_7_permuted_inputs_permute_the_answer():
    """(7)"""
    w, h = case()
    mixed = torch.randperm(32, generator=torch.Generator().manual_seed(2))
    grid = Grid(3, None, False)
    plain, turned = solve(w, h, grid, True).coded, solve(w[:, mixed], h[mixed][:, mixed], grid, True).coded
    assert torch.equal(plain.codes[:, mixed], turned.codes)
    assert not torch.equal(plain.codes, solve(w, h, grid).coded.codes)


def test_inputs_that_are_always_nought_get_no_weight():
    w, h = case()
    h[5], h[:, 5] = 0, 0
    found = solve(w, h, Grid(4, None, True)).coded.weight
    assert (found[:, 5] == 0).all() and (found[:, 4] != 0).any()


def test_better_than_the_nearest_where_inputs_hang_together():
    w, h = case(columns=64, tokens=100)
    grid = Grid(3, 32, True)
    lost = [((w - q) @ h * (w - q)).sum() for q in (solve(w, h, grid).coded.weight, grid.nearest(w).weight)]
    assert lost[0] < 0.6 * lost[1]


def model(**settings):
    return by.build("llama", "tiny", dim=32, layers=2, heads=2, **settings).eval()


def batch(seed=0):
    return by.Batch(torch.randint(0, 256, (4, 12), generator=torch.Generator().manual_seed(seed)))


@torch.no_grad()
def test_what_each_projection_reads_comes_through_those_before_it():
    made, data = model(), [batch(), batch(1)]
    assert [part.path for part, _ in sweep(made, data)] == [part.path for part in projections(made)]
    for part, rows in sweep(made, data):
        moment = second_moment(rows)
        read = torch.cat(
            [
                value.flatten(0, 1)
                for each in data
                for value in made(each, points={f"{part.path}:linear_in": "read"}).captures.values()
            ]
        ).double()  # through all that was changed before
        assert torch.allclose(moment, 2 * read.T @ read / len(read), rtol=1e-5, atol=1e-6)
        part.weight.mul_(1.5)


@torch.no_grad()
def test_tokens_that_do_not_count_are_not_read():
    made, data = model(), batch()
    valid = torch.ones(4, 12, dtype=torch.bool)
    valid[:, 7:] = False
    padded = by.Batch(data.tokens, valid=valid)
    for (_, rows), (_, cut) in zip(sweep(made, [padded]), sweep(made, [by.Batch(data.tokens[:, :7])])):
        a, b = second_moment(rows), second_moment(cut)
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_looped_model_is_read_in_every_loop():
    from blockyard.core.spec import depth

    spec = by.spec("llama", "tiny", dim=32, heads=2)["model"].but(depth=depth("shared", loops=3))
    made = by.build(spec).eval()
    _, rows = next(sweep(made, [batch()]))
    assert sum(len(piece) for piece in rows) == 3 * 4 * 12
    found = make_transform("gptq:bits=8").apply(made, [batch()])
    assert len(found.covered) == len(projections(made))


@torch.no_grad()
@pytest.mark.parametrize("settings,packed", [("bits=4", True), ("bits=3", False), ("bits=8,act_order=yes", True)])
def test_a_model_is_kept_with_the_bytes_it_says(settings, packed, tmp_path):
    made = model()
    found = make_transform(f"gptq:{settings}").apply(made, [batch(), batch(1)])
    count = len(projections(made))
    assert len(found.covered) == count and found.left == ("stem",)
    assert found.report["packed"] == (count if packed else 0)
    assert set(found.report["output_error"]) == set(found.covered)
    held = sum(t.numel() for t in stored(found.model).values() if t.dtype == torch.uint8)
    full = sum(part.weight.numel() * 4 for part in projections(made))
    assert held >= found.report["grid_bytes"] if packed else held == 0
    assert found.report["grid_bytes"] < full / 2
    found.model.save(tmp_path / "m")
    again = by.load(tmp_path / "m").eval()
    assert torch.equal(again(batch().tokens).logits, found.model(batch().tokens).logits)


@torch.no_grad()
def test_packed_and_full_numbers_say_the_same():
    made = model()
    small = make_transform("gptq:bits=4,group=none").apply(made, [batch(), batch(1)]).model
    for part in projections(made):
        held, columns = small.get_submodule(part.path), part.weight.shape[1]
        full = dense(held.weight, held.store.bits, held.store.group, columns)[: len(part.weight)]
        assert len(full.unique(dim=0)) > 1 and max(len(row.unique()) for row in full) <= 16
        part.weight.copy_(full)
    x = batch(3).tokens
    assert (small(x).logits - made(x).logits).abs().max() < 1e-4


@torch.no_grad()
def test_the_nearest_needs_no_data():
    """Every projection by itself; what is kept is left; what no store packs is the full matrix of the codes."""
    model, grid = by.build("llama", "tiny"), Grid(3, 8, False)
    found = make_transform("rtn:bits=3,group=8,symmetric=no,keep=(*.qkv,)").apply(model)
    kept = {part.path for part in projections(model) if part.path.endswith(".qkv")}
    assert set(found.left) >= kept and not kept & found.covered.keys() and set(found.covered.values()) == {str(grid)}
    assert found.covered.keys() | kept == {part.path for part in projections(model)}
    for path in found.covered:
        want = grid.nearest(model.get_submodule(path).weight.double()).weight
        assert torch.allclose(found.model.get_submodule(path).weight.double(), want, atol=1e-6)
        assert not torch.allclose(model.get_submodule(path).weight.double(), want, atol=1e-3)
    assert all(torch.equal(found.model.get_submodule(path).weight, model.get_submodule(path).weight) for path in kept)


def test_where_nothing_is_said_groups_of_32_get_four_bits():
    made = make_transform("gptq")
    assert made.grid == make_transform("rtn").grid == Grid(4, 32, True)
    assert str(made.grid) == "4 bits, groups of 32" and str(Grid(2, None, False)) == "2 bits, a row, with zero points"
    assert (made.act_order, made.damp, made.block) == (False, 0.01, 128)


def test_what_cannot_be_rounded_is_named():
    with pytest.raises(UsageError, match=r"bits=5 must be 2 or 3 or 4 or 8"):
        make_transform("gptq:bits=5")
    with pytest.raises(UsageError, match="is fitted to data"):
        make_transform("gptq").apply(model())
    with pytest.raises(UsageError, match="no projection in full numbers"):
        make_transform("gptq").plan(by.quantise(model(), 8)[0])
    with pytest.raises(UsageError, match=r"no part's path matches '\*.dwon'"):
        make_transform("rtn:keep=*.dwon").plan(model())
    with pytest.raises(UsageError, match="raise damp"):
        solve(*(torch.ones(2, 2, dtype=F64) for _ in range(2)), Grid(4, None, True), damp=0.0)
