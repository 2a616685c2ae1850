"""Editing by the curvature of the loss: the lines of the card, and factors held against gradients of the whole."""

import math
from itertools import pairwise

import pytest
import torch
from system_cases import F64, gap, normal, shake

import blockyard as by
from blockyard.model.save import fill, stored
from blockyard.probe import kfac_probe
from blockyard.probe.kfac import Factors, factors
from blockyard.study import loss_curvature as curved
from blockyard.study._base import FAILS, HOLDS, OPEN
from blockyard.transform._base import make_transform
from blockyard.transform.kfac_edit import kept_of, rotated, turned_back
from blockyard.transform.truncate import truncated

PATH = "steps.1.part.down"


def ids(rows=4, length=9, seed=0):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(seed))


def model(name="llama"):
    return shake(by.build(name, "tiny").double()).eval()


def moment(n, seed):
    """A second moment of full rank, all of whose eigenvalues are apart."""
    x = normal(3 * n, n, seed=seed) * torch.arange(1, n + 1)
    return x.T @ x / (3 * n)


WEIGHT, READ, SAID = normal(5, 7), moment(7, 1), moment(5, 2)
BASIS = rotated(WEIGHT, Factors(READ, SAID))


@torch.no_grad()
def test_all_of_the_curvature_keeps_all():
    """(1) The matrix comes back, and so do the logits, directions without any curvature included."""
    assert gap(turned_back(BASIS, kept_of(BASIS.curvature, 1.0)), WEIGHT) < 1e-12
    net, data = model(), [by.Batch(ids(2, 3))]  # fewer tokens than channels: most directions have none
    found = make_transform("kfac_edit:share=1").apply(net, data)
    assert gap(found.model(ids()).logits, net(ids()).logits) < 1e-9
    assert set(found.report["components"].values()) == {1.0}
    less = make_transform("kfac_edit:share=0.5,on=steps.1.*").apply(net, data)
    assert gap(less.model(ids()).logits, net(ids()).logits) > 1e-3 and set(less.covered) == {
        "steps.1.part.up", PATH,
    }  # fmt: skip


def test_energy_is_the_sum_of_curvatures_times_squares():
    """(2) And what is dropped takes exactly its own terms along, by the dense Kronecker product too."""
    energy = (BASIS.curvature * BASIS.coefficients.square()).sum()
    by_hand = torch.trace(WEIGHT.T @ SAID @ WEIGHT @ READ)
    dense = torch.kron(SAID, READ)
    assert gap(energy, by_hand) < 1e-8 and gap(WEIGHT.flatten() @ dense @ WEIGHT.flatten(), by_hand) < 1e-8
    mask = kept_of(BASIS.curvature, 0.6)
    assert 0 < int(mask.sum()) < 35
    left = turned_back(BASIS, mask)
    terms = (BASIS.curvature * BASIS.coefficients.square())[~mask].sum()
    assert gap(torch.trace(left.T @ SAID @ left @ READ), by_hand - terms) < 1e-8 and terms > 1e-3
    gone = BASIS.curvature[~mask].max()
    assert gone <= BASIS.curvature[mask].min()
    held = BASIS.curvature[mask].sum() / BASIS.curvature.sum()
    assert held >= 0.6 > held - BASIS.curvature[mask].min() / BASIS.curvature.sum()
    spread = torch.linalg.eigvalsh(dense)
    assert gap(BASIS.curvature.flatten().sort().values, spread) < 1e-8


def test_bases_are_orthonormal():
    """(3)"""
    for base, size in ((BASIS.said, 5), (BASIS.read, 7)):
        assert gap(base.T @ base, torch.eye(size, dtype=F64)) < 1e-12
    assert gap(BASIS.said @ BASIS.coefficients @ BASIS.read.T, WEIGHT) < 1e-12


def test_what_a_smaller_share_keeps_a_larger_one_keeps_too():
    """(4)"""
    masks = [kept_of(BASIS.curvature, share) for share in (0.1, 0.3, 0.6, 0.9, 0.99, 1.0)]
    for small, large in pairwise(masks):
        assert (large | ~small).all() and large.sum() >= small.sum()
    assert int(masks[0].sum()) < int(masks[3].sum()) < 35


def test_a_positive_factor_on_either_side_changes_nothing():
    """(5) Of sums and of means of the loss the edit is the same."""
    for read, said in ((7.0, 1.0), (1.0, 1e-4), (30.0, 0.1)):
        other = rotated(WEIGHT, Factors(read * READ, said * SAID))
        mask = kept_of(other.curvature, 0.6)
        assert torch.equal(mask, kept_of(BASIS.curvature, 0.6))
        assert gap(turned_back(other, mask), turned_back(BASIS, mask)) < 1e-9


def test_neither_order_nor_padding_of_tokens_counts():
    """(6) Rows in another order, in other batches and with tokens that do not count give the same factors."""
    net, rows = model(), ids()
    whole = factors(net, [by.Batch(rows)], [PATH])[PATH]
    turned = factors(net, [by.Batch(rows[[2, 0]]), by.Batch(rows[[3, 1]])], [PATH])[PATH]
    padded = by.Batch(torch.nn.functional.pad(rows, (0, 3)), valid=torch.arange(12).expand(4, 12) < 9)
    for other in (turned, factors(net, [padded], [PATH])[PATH]):
        assert gap(other.read, whole.read) < 1e-9 and gap(other.said, whole.said) < 1e-9
    first, second = (rotated(net.steps[1].part.down.weight.detach(), each) for each in (whole, turned))
    a, b = (turned_back(each, kept_of(each.curvature, 0.5)) for each in (first, second))
    assert gap(a, b) < 1e-6


def test_of_equal_curvatures_the_first_stay():
    """(7) Where all are equal the kept ones stand first, row by row, and are as many as the share needs."""
    even = rotated(WEIGHT, Factors(3 * torch.eye(7, dtype=F64), 2 * torch.eye(5, dtype=F64)))
    mask = kept_of(even.curvature, 0.5).flatten()
    assert mask[:18].all() and not mask[18:].any() and (even.curvature == 6).all()  # 17 hold less than half of 35


@torch.no_grad()
def test_what_was_edited_is_put_back_to_the_bit():
    """(8) The model that was given is as it was, and its numbers fit the edited one."""
    net, data = model(), [by.Batch(ids())]
    before = {name: value.clone() for name, value in stored(net).items()}
    found = make_transform("kfac_edit:share=0.4").apply(net, data).model
    assert all(torch.equal(value, before[name]) for name, value in stored(net).items()) and found.spec == net.spec
    assert not torch.equal(found.steps[1].part.down.weight, net.steps[1].part.down.weight)
    assert torch.equal(found.steps[1].rule.norm.gain, net.steps[1].rule.norm.gain)
    back = fill(found, before)
    assert torch.equal(back(ids()).logits, net(ids()).logits)


def test_slopes_are_those_of_the_loss():
    """Of one token with one target g a^T is the gradient of the matrix, and G kron A its square."""
    net = model()
    one = by.Batch(torch.tensor([[17]]), torch.tensor([[99]]))
    found = factors(net, [one], [PATH])[PATH]
    loss = torch.nn.functional.cross_entropy(net(one).logits[0], one.targets[0])
    slope = torch.autograd.grad(loss, net.steps[1].part.down.weight)[0].flatten()
    assert (
        gap(torch.kron(found.said, found.read), torch.outer(slope, slope)) < 1e-12 * float(slope.square().max()) + 1e-14
    )
    many = by.Batch(ids(3, 5))
    seen = net(many, points={f"{PATH}:linear_in": "read"}).captures
    (read,) = (value.detach().flatten(0, 1) for value in seen.values())
    both = factors(net, [many], [PATH])[PATH]
    assert gap(both.read, read.T @ read / 15) < 1e-10
    none = factors(net, [by.Batch(ids(3, 5), torch.full((3, 5), -1))], [PATH])[PATH]
    assert not none.said.any()  # what asks nothing has no slope


def test_drawn_labels_are_those_of_the_fisher_matrix():
    """Their mean is what every label would give, weighed by its chance; and a seed draws the same twice."""
    net = shake(by.build("llama", "tiny", vocab=5).double()).eval()
    token = torch.tensor([[3]])
    p = net(token).logits.softmax(-1)[0, 0].detach()
    each = [factors(net, [by.Batch(token, torch.tensor([[v]]))], [PATH])[PATH].said for v in range(5)]
    wanted = sum(chance * said for chance, said in zip(p, each))
    rows = by.Batch(token.expand(800, 1))
    drawn = [factors(net, [rows], [PATH], "drawn", seed)[PATH].said for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert gap(drawn[0], wanted) < 0.2 * float(wanted.abs().max())


@torch.no_grad()
def test_the_smallest_singular_values_go_first():
    made, rank = truncated(WEIGHT, 0.8)
    s = torch.linalg.svdvals(WEIGHT)
    wanted = next(k for k in range(1, 6) if float(s[:k].square().sum() / s.square().sum()) >= 0.8)
    assert rank == wanted == int(torch.linalg.matrix_rank(made))
    assert float((WEIGHT - made).square().sum()) == pytest.approx(float(s[rank:].square().sum()))
    assert gap(truncated(WEIGHT, 1.0)[0], WEIGHT) < 1e-12
    found = make_transform("truncate:share=0.5,on=steps.1.*").apply(model())
    assert set(found.report["rank"]) == {"steps.1.part.up", PATH}


def drawn(gone, seed=0):
    return curved.in_drawn_bases(WEIGHT, gone, torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_drawn_directions_take_as_much_of_the_matrix_and_more_of_the_curvature():
    """The control of the study: by components of orthonormal bases that know nothing, what is left is at a right angle
    to what is gone, and the loss would rise by more."""
    for share in (0.9, 0.6, 0.3):
        kept = turned_back(BASIS, kept_of(BASIS.curvature, share))
        gone = float((WEIGHT - kept).square().sum())
        found = [drawn(gone, seed) for seed in range(40)]
        for each in found:
            assert gap((each * (WEIGHT - each)).sum(), torch.zeros((), dtype=F64)) < 1e-9
            taken = float((WEIGHT - each).square().sum())
            assert gone - 0.3 * float(WEIGHT.square().sum()) < taken <= gone + 1e-9

        def energy(x):
            return float(torch.trace(x.T @ SAID @ x @ READ))

        assert energy(WEIGHT - kept) < sum(energy(WEIGHT - each) for each in found) / len(found)
    assert torch.equal(drawn(3.0), drawn(3.0)) and not torch.allclose(drawn(3.0), drawn(3.0, 1))
    assert gap(drawn(0.0), WEIGHT) < 1e-12 and drawn(1e9).abs().max() < 1e-12


def test_of_much_drawn_directions_take_what_they_should():
    """Of a large matrix the share that is asked for, within one component."""
    large = normal(40, 60)
    for share in (0.1, 0.5, 0.9):
        left = curved.in_drawn_bases(large, share * float(large.square().sum()), torch.Generator().manual_seed(0))
        assert float(left.square().sum() / large.square().sum()) == pytest.approx(1 - share, abs=0.01)


def test_an_edit_of_the_study_is_taken_back(monkeypatch):
    """(8) the model is as it was, to the bit; the mildest edit that forgets is the one that counts."""
    net, before = model().float(), {}
    before |= {name: value.clone() for name, value in stored(net).items()}
    strings, asked = ids(3, 12), []
    monkeypatch.setattr(curved, "ON", ("steps.1.*",))
    monkeypatch.setattr(curved, "_recited", lambda net, rows: 0.0 if len(asked) // 2 > 3 else 1.0)  # two matrices each

    def edit(weight, path, share):
        asked.append(share)
        return 0 * weight

    found = curved._forgotten(net, edit, strings, strings)
    assert found.share == curved.SHARES[3] and asked[::2] == list(curved.SHARES[:4]) and found.recited == 0.0
    assert found.loss == pytest.approx(curved._cost(net, edit, 0.5, strings, strings).loss)
    assert found.loss != pytest.approx(curved._loss(net, strings))
    assert all(torch.equal(value, before[name]) for name, value in stored(net).items())
    monkeypatch.setattr(curved, "_recited", lambda net, rows: 1.0)
    never = curved._forgotten(net, edit, strings, strings)
    assert all(map(math.isnan, never)) and math.isnan(curved._cost(net, edit, never.share, strings, strings).loss)


def test_the_study_predicts_of_every_figure_that_it_gives():
    """Where an edit never forgets, its predictions stay open."""
    study = curved.study()
    told = {"loss": 3.0, "recited": 0.9, "curvature_rise": 0.2, "singular_rise": 0.4, "drawn_rise": 0.5}
    wanted = {"drawn_rise": FAILS, "rise_as_far": FAILS, "singular_rise": FAILS}
    assert [p.judge([told | {"rise_as_far": 0.6}] * 2).verdict for p in study.predictions] == [HOLDS] * 5
    for name, verdict in wanted.items():
        for value, said in ((0.15, verdict), (None, OPEN)):
            figures = [told | {"rise_as_far": 0.6, name: value}] * 2
            assert [p.judge(figures).verdict for p in study.predictions if name in p.text] == [said]


def test_the_probe_says_the_spectra():
    net, rows = model(), ids()
    found = kfac_probe(net, rows, on=(PATH,), batch=3)
    one = factors(net, [by.Batch(rows)], [PATH])[PATH]
    assert torch.from_numpy(found[f"{PATH}:in"].copy()).sum() == pytest.approx(float(torch.trace(one.read)))
    assert (found[f"{PATH}:out"][:-1] >= found[f"{PATH}:out"][1:]).all() and found[f"{PATH}:half"] < 0.1
    assert math.isfinite(found[f"{PATH}:half"]) and found[f"{PATH}:even"] == 0.5
    for wrong, words in (
        (lambda: kfac_probe(net, rows, on=("steps.9.*",)), "no projection in full numbers"),
        (lambda: kfac_probe(by.build("bert", "tiny"), rows), "causal"),
        (lambda: make_transform("kfac_edit").apply(net), "fitted to data"),
    ):
        with pytest.raises(by.UsageError, match=words):
            wrong()
