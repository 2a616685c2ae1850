"""What must hold of hidden units that do not fire, and of channels that keep the largest alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from system_cases import F64, gap, grads, inner, normal, part, tokens

import blockyard as by
from blockyard.compare.documents import Probes
from blockyard.compare.run.probes import inside
from blockyard.core.spec import activation, channel
from blockyard.kernels import count_flops, largest
from blockyard.model.count import count_flops as flops_of
from blockyard.model.count import on_meta
from blockyard.probe import sparsity_probe
from blockyard.study._base import FAILS, HOLDS, OPEN, less

UNITS = 96  # of a channel on 24


def alike(k, **settings):
    """The same numbers as channel:sparse_mlp, as channel:mlp with activation:top_k, and as channel:mlp with ReLU."""
    mine = part("channel:sparse_mlp", dim=24, k=k, **settings)
    masked = part("channel:mlp", dim=24, activation=activation("top_k", k=k, **settings))
    dense = part("channel:mlp", dim=24, activation=settings.get("activation", "relu"))
    for other in (masked, dense):
        other.up.load_state_dict(mine.up.state_dict())
        other.down.weight.data.copy_(mine.down.T)
    return mine, masked, dense


@torch.no_grad()
def test_with_room_for_all_it_is_the_dense_channel():
    """(1) k = d_ff equals the dense channel exactly, and so does every k not below the most units that fire."""
    x = normal(2, 7, 24)
    mine, masked, dense = alike(UNITS)
    assert torch.equal(masked(x)[0], dense(x)[0]) and gap(mine(x)[0], dense(x)[0]) < 1e-12
    fire = int((dense.up(x) > 0).sum(-1).max())
    for k, same in ((fire, True), (UNITS + 9, True), (fire - 1, False)):
        mine, masked, _ = alike(k)
        assert torch.equal(masked(x)[0], dense(x)[0]) == same and (gap(mine(x)[0], dense(x)[0]) < 1e-12) == same


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 5])
def test_exactly_the_largest_are_kept(k):
    """(2) at most k are not zero, exactly the top set of torch.topk; of equal ones the first."""
    x, made = normal(40, 24), by.make("activation:top_k", dim=24, k=k)
    values, places = torch.topk(x.relu(), k)
    assert torch.equal(made(x), torch.zeros_like(x).scatter(-1, places, values))
    assert ((made(x) != 0).sum(-1) <= k).all()
    equal = torch.tensor([1.0, 2.0, 2.0, 0.0, 2.0, 2.0, 1.0])
    assert by.make("activation:top_k", dim=7, k=3)(equal).tolist() == [0, 2, 2, 0, 2, 0, 0]
    assert largest(equal, 5)[1].tolist() == [1, 2, 4, 5, 0]
    assert torch.equal(
        by.make("activation:top_k", dim=24, k=24, activation="gelu")(x), by.make("activation:gelu", dim=24)(x)
    )


@pytest.mark.parametrize("k", [1, 6, 40])
def test_the_gathered_product_is_the_masked_one(k):
    """(3) outputs and gradients; and so is the product of the hidden numbers where somebody asks for them."""
    x, (mine, masked, _) = normal(2, 7, 24), alike(k)
    y, _, seen = inner(mine, x, "hidden")
    assert gap(mine(x)[0], masked(x)[0]) < 1e-12 and gap(y, masked(x)[0]) < 1e-12
    assert torch.equal(seen["hidden"], inner(masked, x, "hidden")[2]["hidden"])
    ours, theirs = (grads(lambda x, each=each: each(x)[0], each, x) for each in (mine, masked))
    assert all(gap(a, b) < 1e-12 for a, b in zip(ours, (theirs[0], theirs[2].T, theirs[1])))
    with by.exact():
        assert gap(mine(x)[0], masked(x)[0]) < 1e-12
    halved, _, _ = inner(mine, x, hidden=lambda a: a / 2)
    assert gap(2 * halved, masked(x)[0]) < 1e-12


def test_the_second_product_costs_what_it_reads():
    """(3) 2 K N operations a token in place of 2 F N, in a count of the op and of a whole model."""
    with torch.device("meta"), count_flops() as tally:
        assert by.make("channel:sparse_mlp", dim=24, k=5)(torch.empty(2, 7, 24))[0].shape == (2, 7, 24)
    assert tally == {"gathered_linear": 2 * 14 * 5 * 24}
    sparse, dense = (
        by.spec("polycom", "tiny").at("steps.1.part", spec=each)
        for each in (channel("sparse_mlp", k=5), channel("mlp", activation="relu"))
    )
    saved = flops_of(on_meta(dense), 10) - flops_of(on_meta(sparse), 10)
    assert saved == 10 * 2 * 32 * (128 - 5)


def test_in_half_precision_it_stays_near():
    made, x = alike(5)[0].bfloat16(), normal(2, 9, 24).bfloat16()
    y, exact = made(x)[0], inner(made, x, "hidden")[2]["hidden"].double() @ made.down.double()
    assert y.dtype is torch.bfloat16 and gap(y, exact) < 0.02


def test_both_matrices_start_as_those_of_a_plain_channel():
    net = by.build("polycom", "tiny", dim=256, layers=2)
    same = by.build(net.spec.at("steps.1.part", spec=channel("sparse_mlp", k=9)))
    down, plain = same.steps[1].part.down, net.steps[1].part.down.weight
    assert down.shape == (1024, 256) and abs(down.std() / plain.std() - 1) < 0.01
    assert next(use for use in same.uses if use.path == "steps.1.part.down").decay
    assert same.steps[1].part.spec["k"] == 9 and by.make("channel:sparse_mlp", dim=8).down.shape == (32, 8)
    assert by.make("channel:sparse_mlp", dim=8).k == by.make("activation:top_k", dim=8).k == 128


@torch.no_grad()
def test_half_of_the_units_fire_at_first():
    """(4) with symmetric weights and no bias s = 0.5 +- 0.03; per row, per unit, and from captured values by hand."""
    net, ids = by.build("polycom", "tiny", activation="relu", dim=64), tokens(5, 40)
    found = sparsity_probe(net, ids, batch=2)
    assert set(found) == {"steps.1.part", "steps.1.part:units", "steps.3.part", "steps.3.part:units"}
    assert all(abs(found[f"steps.{i}.part"].mean() - 0.5) < 0.03 for i in (1, 3))
    captures = net(ids, points={"steps.*.part:hidden": "read"}).captures
    for path in ("steps.1.part", "steps.3.part"):
        fires = next(v for (_, _, at, _), v in captures.items() if at == path) > 0
        assert np.allclose(found[path], fires.float().mean((1, 2))) and found[path].shape == (5,)
        assert np.allclose(found[f"{path}:units"], fires.float().mean((0, 1)))


@torch.no_grad()
def test_padding_is_not_counted():
    """(4) tokens that do not count leave no trace, whatever they hold; without exact zeros `least` decides."""
    net, ids, valid = by.build("polycom", "tiny", activation="relu"), tokens(3, 12), torch.ones(3, 12, dtype=torch.bool)
    valid[1, 7:] = False
    found = [sparsity_probe(net, by.Batch(torch.where(valid, ids, fill), valid=valid), batch=2) for fill in (0, 9)]
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
    alone = sparsity_probe(net, ids[1:2, :7])
    assert np.allclose(found[0]["steps.1.part"][1], alone["steps.1.part"])
    whole = sparsity_probe(net, ids[[0, 2]])
    units = (7 * alone["steps.1.part:units"] + 24 * whole["steps.1.part:units"]) / 31
    assert np.allclose(found[0]["steps.1.part:units"], units)
    smooth = by.build("polycom", "tiny", activation="gelu")
    assert sparsity_probe(smooth, ids)["steps.1.part"].min() == 1.0
    assert 0.05 < sparsity_probe(smooth, ids, least=0.2)["steps.1.part"].mean() < 0.95


def test_the_probe_reads_top_k_and_loops_and_refuses_the_rest():
    net = by.build("polycom", "tiny", activation=activation("top_k", k=16))
    assert sparsity_probe(net, tokens(3, 12))["steps.1.part"].max() <= 16 / 128
    looped = by.build("albert", "tiny")
    assert {"steps.1.part", "steps.1.part@1"} <= set(sparsity_probe(looped, tokens(2, 8)))
    with pytest.raises(by.UsageError, match="no channel of this model has hidden units"):
        sparsity_probe(by.build("switch", "tiny", layers=1), tokens(2, 8))
    swin = by.build("swin", "tiny")  # whose tokens are fewer from step to step
    images = swin.example(2, 16, torch.Generator().manual_seed(0))
    assert {len(each) for name, each in sparsity_probe(swin, images).items() if not name.endswith("units")} == {2}


def test_an_active_unit_raises_the_loss_on_average():
    """(5) over 2000 random V, logits V a and cross-entropy: mean dLoss/da_i of active units above zero, z > 5."""
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(16, dtype=F64, generator=draw).relu().requires_grad_()
    V = torch.randn(2000, 10, 16, dtype=F64, generator=draw) / 4
    labels = torch.randint(0, 10, (2000,), generator=draw)
    each = torch.func.vmap(torch.func.grad(lambda a, v, y: torch.nn.functional.cross_entropy(v @ a, y)), (None, 0, 0))
    slopes = each(a, V, labels)[:, a > 0].mean(1)
    assert slopes.mean() / (slopes.std() / 2000**0.5) > 5


def test_a_comparison_says_what_fires_where_anything_is_zero():
    rows = tokens(3, 16).numpy()
    exam = SimpleNamespace(take=lambda _: {"tokens": rows})
    data = SimpleNamespace(plain_text=False, exam=lambda *_: exam)
    net = by.build("polycom", "tiny", activation="relu")
    found = sparsity_probe(net, rows)
    want = [float(found[f"steps.{i}.part"].mean()) for i in (1, 3)]
    assert inside(net, data, 16).firing == pytest.approx(want)
    assert inside(by.build("polycom", "tiny", activation="gelu"), data, 16).firing == []
    bare = by.build(net.spec.at("steps.1.part", spec=channel("experts")).at("steps.3.part", spec=channel("experts")))
    assert inside(bare, data, 16).firing == []


@pytest.mark.parametrize("few, many, said", [
    ([[0.1, 0.2], [0.2, 0.2]], [[0.4], [0.3]], HOLDS), ([[0.5], [0.6]], [[0.4], [0.5]], FAILS),
    ([[0.1], [0.6]], [[0.4], [0.5]], OPEN), ([[]], [[]], OPEN),
])  # fmt: skip
def test_the_prediction_compares_seed_by_seed(few, many, said):
    arms = {
        name: SimpleNamespace(probes=[Probes([], [], firing=each) for each in shares] + [None])
        for name, shares in (("few", few), ("many", many))
    }
    found = less("text", "firing", "few", "many").judge(SimpleNamespace(arm=arms.get))
    assert found.verdict == said and (found.value is None) == (few == [[]])
    assert said is not HOLDS or found.value == pytest.approx((0.25 + 0.1) / 2)
