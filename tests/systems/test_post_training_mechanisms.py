"""What post-training moves: the lines of the card on patches, directions and units; norms whose scale can be held."""

import numpy as np
import pytest
import torch
from system_cases import F64, gap, normal, shake

import blockyard as by
from blockyard.probe import direction, direction_probe, entropy_neurons_probe
from blockyard.probe._inside import kept, read
from blockyard.probe.direction import ablated, between, steered, unit, without
from blockyard.probe.entropy_neurons import last_units, logit_variance, overlap, picked, rises
from blockyard.probe.patch import patched


def model(name="llama", **settings):
    return shake(by.build(name, "tiny", **settings).double()).eval()


def ids(rows, length=6, seed=0):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_patching_the_first_layer_restores_the_clean_logits():
    """(1) Every position in front of the first step is enough, all but one is not, and one's own is no patch."""
    net, clean, base = model(), by.Batch(ids(3)), by.Batch(ids(3, seed=1))
    given, own = (kept(net, rows, "stream")["stem"] for rows in (clean, base))
    assert gap(patched(net, base, "stream", {"stem": (given, None)}).logits, net(clean).logits) < 1e-10
    every = torch.ones(1, 6, dtype=torch.bool)
    assert gap(patched(net, base, "stream", {"stem": (given, every)}).logits, net(clean).logits) < 1e-10
    some = torch.tensor([[True, True, False, True, True, True]])
    assert gap(patched(net, base, "stream", {"stem": (given, some)}).logits[:, 2:], net(clean).logits[:, 2:]) > 1e-3
    assert torch.equal(patched(net, base, "stream", {"stem": (own, None)}).logits, net(base).logits)


@torch.no_grad()
def test_nothing_is_left_along_a_direction_that_was_taken_out(monkeypatch):
    """(2) At every depth, and to take it out twice is to take it out once."""
    net, rows, r = model(layers=3), ids(3), unit(normal(32, seed=4))
    once, found, plain = ablated(net, rows, 3 * r), [], direction.edited  # its length means nothing
    monkeypatch.setattr(direction, "edited", lambda flow, x: found.append(x) or plain(flow, x))
    ablated(net, rows, r)
    assert len(found) == 7
    for x in found:
        assert ((x @ r).abs() <= 1e-12 * x.norm(dim=-1)).all() and x.norm() > 0
    assert gap(without(without(found[3], r), r), without(found[3], r)) < 1e-12
    assert gap(once.logits, net(rows).logits) > 1e-3 and gap(once.hidden @ r, torch.zeros(3, 6, dtype=F64)) < 1e-12


@torch.no_grad()
def test_what_is_added_at_one_place_is_what_the_next_step_reads():
    net, rows, more = model(), ids(2), normal(32)
    out = steered(net, rows, "steps.1.part", more)
    flow = net.run(net.start(rows), [0, 1])
    by_hand = net.finish(net.run(flow._replace(carry=flow.x + more), [2, 3]))
    assert gap(out.logits, by_hand.logits) < 1e-12
    with pytest.raises(by.UsageError, match="never passes steps"):
        steered(net, rows, "steps.9.part", more)
    spec = by.spec("llama", "tiny")
    several = by.build(spec.but(model=spec["model"].but(residual=by.core.spec.residual("hyper_connections"))))
    with pytest.raises(by.UsageError, match="carries more than the stream"):
        ablated(several, rows, more)


def test_a_constant_that_all_share_moves_no_direction():
    """(3) Added to every activation it changes neither the direction nor what that tells apart; a factor neither."""
    h, kind = normal(20, 8), torch.arange(20) % 3 == 0
    shifted = h + 50 * normal(8, seed=2)
    assert gap(between(shifted, kind), between(h, kind)) < 1e-12
    by_hand = h[kind].sum(0) / int(kind.sum()) - h[~kind].sum(0) / int((~kind).sum())
    assert gap(between(h, kind), by_hand) < 1e-12 and gap(unit(7 * by_hand), unit(by_hand)) < 1e-12


@torch.no_grad()
def test_a_model_shares_all_with_itself_and_chance_shares_little():
    """(4) Cosine and overlap of a model with itself are 1; two drawn directions have a cosine of about D^-1/2."""
    net, rows = model(), ids(40)
    kinds = rows[:, -1] % 2 == 0
    mine = direction_probe(net, rows, kinds)
    found = direction_probe(net, rows, kinds, others=mine)
    for place in ("stem", "steps.0.part", "steps.3.part"):
        assert found[f"{place}:cosine"] == pytest.approx(1) and found[f"{place}:given"] == found[f"{place}:accuracy"]
        assert np.linalg.norm(mine[place]) == pytest.approx(1)
    drawn = torch.nn.functional.normalize(normal(400, 2, 64), dim=-1)
    size = (drawn[:, 0] * drawn[:, 1]).sum(-1).square().mean().sqrt()
    assert float(size) == pytest.approx(64**-0.5, rel=0.1)
    chosen = entropy_neurons_probe(net, rows[:4], top=5)["steps.3.part:chosen"]
    assert overlap(chosen, chosen[::-1]) == 1 and overlap([1, 2, 3], [3, 4]) == 0.25
    with pytest.raises(by.UsageError, match="none of"):
        direction_probe(net, rows, kinds, others={})


@torch.no_grad()
def test_a_direction_is_scored_on_rows_that_did_not_teach_it():
    """Two kinds that nothing tells apart are at chance, however well a direction fits those that taught it."""
    net, rows = model(), ids(60)
    planted = rows.clone()
    planted[:30, -1], planted[30:, -1] = 7, 9
    found = direction_probe(net, planted)
    assert found["stem:accuracy"] == 1.0 and found["stem:shuffled"] < 0.75
    noise = direction_probe(net, rows, torch.arange(60) % 2 == 0)
    assert noise["stem:accuracy"] < 0.8
    by_hand = read(net, by.Batch(planted), "stream")["stem"][:, -1]
    assert abs(found["stem"] @ unit(by_hand[30] - by_hand[0]).numpy()) == pytest.approx(1)


def test_the_variance_over_tokens_does_not_know_how_long_a_unit_writes():
    """(5) By hand: rescaled columns and rows of the table change nothing, an even column has none."""
    table, written = normal(11, 6), normal(6, 4, seed=1)
    by_hand = [np.var([float(u @ w / (u.norm() * w.norm())) for u in table]) for w in written.T]
    found = logit_variance(table, written)
    assert found.numpy() == pytest.approx(by_hand)
    assert gap(logit_variance(table, written * torch.tensor([1.0, 9.0, 0.1, -3.0])), found) < 1e-12
    assert gap(logit_variance(3 * table, written), found) < 1e-12
    assert picked(torch.tensor([9.0, 8, 1, 7]), torch.tensor([0.3, 0.1, 0.0, 0.2]), 2, 2).tolist() == [1, 0]


@torch.no_grad()
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_a_unit_that_no_token_reads_acts_by_the_scale_of_the_last_norm_alone(norm):
    """Its column stands across the whole table: held, the scale leaves what is said as it was; free, it does not."""
    net = shake(by.build("llama", "tiny", vocab=20, **{"head.norm": norm}).double()).eval()
    net.head.norm.gain.fill_(1.3)
    path, written = last_units(net)
    assert path == "steps.3.part" and written.shape == net.steps[3].part.down.weight.shape
    rows = by.Batch(ids(3) % 20)
    across = torch.linalg.svd(torch.cat([net.head.table, torch.ones(1, 32, dtype=F64)]))[2][-1]  # and no mean
    written[:, 5] = 4 * across
    free, held = (rises(net, rows, path, torch.tensor([5]), freeze) for freeze in (False, True))
    assert held.abs() < 1e-10 < 1e-4 < free.abs()
    written[:, 6] = 4 * net.head.table[3]
    assert rises(net, rows, path, torch.tensor([6]), True).abs() > 1e-4
    found = entropy_neurons_probe(net, rows.tokens, top=3)
    assert found[f"{path}:variance"][5] < 1e-20 and 5 in found[f"{path}:chosen"]


@torch.no_grad()
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_a_norm_shows_what_it_divides_by(norm):
    """Read, it changes nothing; given twice as much, a token says half."""
    made = shake(by.make(f"norm:{norm}", dim=8).double())
    x = normal(2, 5, 8)
    call = by.core.Call.plain(x)
    shown = call._replace(points={(made.path, "scale"): "read"})
    assert gap(made(x, shown), made(x, call)) < 1e-12
    (scale,) = shown.captures.values()
    wanted = x.square().mean(-1) if norm == "rms" else x.var(-1, correction=0)
    assert gap(scale[..., 0], (wanted + 1e-5).sqrt()) < 1e-12
    bias = made.bias if norm == "layer" else 0
    doubled = made(x, call._replace(points={(made.path, "scale"): lambda s: 2 * s}))
    assert gap(2 * (doubled - bias), made(x, call) - bias) < 1e-12


def test_models_without_such_units_are_refused():
    with pytest.raises(by.UsageError, match="head's table"):
        entropy_neurons_probe(by.build("vit", "tiny"), ids(2))
    with pytest.raises(by.UsageError, match="one is missing"):
        direction_probe(model(), ids(4), torch.ones(4))
