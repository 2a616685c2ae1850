"""Transcoders: the lines of the card, sums of contributions by hand, and what a fit makes of known channels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from system_cases import F64, gap, normal, part, shake

import blockyard as by
from blockyard.core import Spec
from blockyard.core.spec import residual
from blockyard.probe import circuits_probe
from blockyard.probe._inside import kept, visited
from blockyard.probe.circuits import terms, top
from blockyard.study import transcoders as study
from blockyard.study._base import FAILS, HOLDS, OPEN, Given
from blockyard.transform._base import make_transform
from blockyard.transform.transcode import begun, loss_of, said_by, taps, told

NAMES = "centre", "encoder", "bias", "decoder", "offset"


def ids(rows=3, length=7, seed=0):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(seed))


def model(norm="rms", layers=3):
    """A model all of whose channels are dictionaries."""
    spec = by.spec("llama", "tiny", layers=layers)
    spec = spec.but(model=spec["model"].but(residual=residual("prenorm", norm=Spec("norm", norm))))
    for step in range(1, 2 * layers, 2):
        spec = spec.at(f"steps.{step}.part", spec=Spec.of("channel", "transcoder", {"inner": 20}))
    return shake(by.build(spec).double()).eval()


@torch.no_grad()
@pytest.mark.parametrize("norm", ["none", "rms", "layer"])
def test_contributions_sum_to_what_a_feature_reads(norm):
    """(1) Without norms, and (2) with the scale held: earlier features, the rest and the bias are all there is."""
    net, rows = model(norm), by.Batch(ids())
    found, path = terms(net, rows)
    assert path == "steps.5.part" and list(found.features) == ["steps.1.part", "steps.3.part"]
    seen = {}
    hook = net.steps[5].part.register_forward_hook(lambda _, given, out: seen.update(x=given[0]))
    net(rows)
    hook.remove()
    last = net.steps[5].part
    read = (seen["x"] - last.centre) @ last.encoder.T + last.bias  # what the part itself reads, by hand
    parts = [z @ found.worth[each] / found.scale for each, z in found.features.items()]
    assert gap(sum(parts) + found.rest + found.bias, read) < 1e-10 and gap(found.whole, read) < 1e-10
    assert min(float(each.abs().max()) for each in (*parts, found.rest)) > 1e-3
    first, gain = net.steps[1].part, {"none": 1.0}.get(norm, getattr(net.steps[5].rule.norm, "gain", None))
    by_hand = first.decoder if norm != "layer" else first.decoder - first.decoder.mean(1, keepdim=True)
    assert gap(found.worth["steps.1.part"], (by_hand * gain) @ last.encoder.T) < 1e-12
    if norm == "none":
        assert torch.equal(found.scale, torch.ones(3, 7, 1, dtype=F64))
        assert gap(found.worth["steps.1.part"], first.decoder @ last.encoder.T) < 1e-12


@torch.no_grad()
def test_a_feature_that_is_silenced_takes_its_contribution_with_it():
    """The whole effect of an earlier feature on a later one, same token, scale and all between held, is its term."""
    net, rows = model("none"), by.Batch(ids(1, 1))  # one token: attention passes on, so it is silenced between
    quiet = {"steps.2.part:context": torch.zeros_like, "steps.4.part:context": torch.zeros_like}
    net.steps[3].part.encoder.zero_(), net.steps[3].part.bias.fill_(-1.0)
    found, _ = terms(net, rows)
    z = found.features["steps.1.part"][0, 0]
    unit = int(z.argmax())
    points = {"steps.5.part:hidden": "read", **quiet}
    last = net.steps[5].part
    last.bias.add_(100.0)  # every feature is on, so that the relu hides nothing
    silenced = {"steps.1.part:hidden": lambda h: h.index_fill(-1, torch.tensor([unit]), 0)}
    both = [net(rows, points=points | more) for more in ({}, silenced)]
    on, off = (next(v for k, v in out.captures.items() if k[2] == "steps.5.part")[0, 0] for out in both)
    assert gap(on - off, z[unit] * found.worth["steps.1.part"][unit]) < 1e-10
    told_first = top(found, 0, 0, 4, 3)
    assert abs(told_first[0][2]) >= abs(told_first[1][2]) and told_first[0][0] == "steps.1.part"


@torch.no_grad()
def test_the_probe_says_means_that_add_up():
    net = model()
    found = circuits_probe(net, ids(5), batch=2)
    terms_of = [found[key].sum(0) if key.startswith("steps") else found[key] for key in found if ">" in key]
    assert np.allclose(sum(terms_of), found["steps.5.part"]) and found["steps.3.part>steps.5.part"].shape == (20, 20)
    assert "steps.3.part>steps.3.part" not in circuits_probe(net, ids(), 3)
    for wrong, words in (
        (by.build("llama", "tiny"), "no dictionary"), (by.build("peri_ln", "tiny"), "straight to the stream"),
        (by.build("albert", "tiny"), "straight|once each"), (model("l2"), "does not show what it divides by"),
    ):  # fmt: skip
        with pytest.raises(by.UsageError, match=words):
            circuits_probe(wrong, ids())


@torch.no_grad()
def test_a_relu_channel_is_a_dictionary():
    """(3) With its own numbers as features it is copied without an error, unused features included."""
    mlp = part("channel:mlp", dim=8, inner=12, activation="relu")
    wide = part("channel:transcoder", dim=8, inner=16)
    for name in ("centre", "bias", "offset", "encoder", "decoder"):
        getattr(wide, name).zero_()
    wide.encoder[:12], wide.decoder[:12] = mlp.up.weight, mlp.down.weight.T
    x = normal(2, 5, 8)
    assert gap(wide(x)[0], mlp(x)[0]) < 1e-12 and mlp(x)[0].abs().max() > 0.1
    own = {name: getattr(wide, name) for name in NAMES}
    flat, said = x.flatten(0, 1), mlp(x)[0].flatten(0, 1)
    assert float(loss_of(own, flat, said, 0.0)) < 1e-20 and told(own, flat, said).unexplained < 1e-12
    assert told(own, flat, said).dead >= 4 / 16


@torch.no_grad()
def test_with_what_it_misses_added_the_logits_are_those_of_the_channel():
    """(4) And without it they are not."""
    net, rows = shake(by.build("llama", "tiny").double()).eval(), by.Batch(ids())
    found = make_transform("transcode:features=24,steps=3,on=steps.1.part").apply(net, [rows]).model
    t = kept(net, rows, "steps.1.part.down:linear_out")["steps.1.part.down:linear_out"]
    missed = t - kept(found, rows, "steps.1.part:said")["steps.1.part:said"]
    assert gap(found(rows).logits, net(rows).logits) > 1e-3
    mended = visited(found, rows, "steps.1.part:said", lambda _, said: said + missed)
    assert gap(mended.logits, net(rows).logits) < 1e-10


@torch.no_grad()
def test_features_are_never_negative_and_many_are_zero():
    """(5)"""
    made, x = part("channel:transcoder", dim=8, inner=30), normal(4, 9, 8)
    call = by.core.Call.plain(x)._replace(points={("part", "hidden"): "read"})
    y, _ = made(x, call)
    (z,) = call.captures.values()
    assert (z >= 0).all() and 0.2 < (z == 0).double().mean() < 0.8
    by_hand = torch.clamp((x - made.centre) @ made.encoder.T + made.bias, min=0)
    assert gap(z, by_hand) < 1e-12 and gap(y, by_hand @ made.decoder + made.offset) < 1e-12


def test_what_is_said_louder_is_fitted_by_louder_rows():
    """(6) Without a penalty c t is lost to c W_d, c o as t is to W_d, o: c times as much, with the same slopes."""
    x, t = normal(12, 5), normal(12, 5, seed=2)
    own = dict(zip(NAMES, (normal(5), normal(9, 5, seed=3), normal(9), normal(9, 5, seed=4), normal(5, seed=5))))
    louder = own | {name: 3 * own[name] for name in ("decoder", "offset")}
    slopes = []
    for each, goal in ((own, t), (louder, 3 * t)):
        learnt = {name: value.clone().requires_grad_() for name, value in each.items()}
        loss = loss_of(learnt, x, goal, 0.0)
        slopes.append((loss, *torch.autograd.grad(loss, [learnt["decoder"], learnt["offset"]])))
    assert float(slopes[1][0].detach()) == pytest.approx(3 * float(slopes[0][0].detach()))
    assert gap(slopes[1][1], slopes[0][1]) < 1e-12 and gap(slopes[1][2], slopes[0][2]) < 1e-12
    z, said = said_by(own, x)
    by_hand = np.mean(
        [[(a - b) ** 2 / np.linalg.norm(g) for a, b in zip(s, g)] for s, g in zip(said.numpy(), t.numpy())]
    )
    cost = float(loss_of(own, x, t, 0.5))
    assert cost == pytest.approx(by_hand + 0.5 * np.mean([row.sum() for row in z.numpy()]))


@torch.no_grad()
def test_a_fit_is_true_where_it_may_be_and_sparse_where_it_must():
    net = shake(by.build("llama", "tiny", layers=1)).eval()
    rows = [by.Batch(ids(16, 32, seed=seed)) for seed in range(2)]
    loose, tight = (
        make_transform(f"transcode:features=64,steps=150,rate=0.01,penalty={cost}").apply(net, rows)
        for cost in (0, 0.1)
    )
    at = "steps.1.part"
    assert loose.report["unexplained"][at] < 0.35 and tight.report["l0"][at] < 0.7 * loose.report["l0"][at]
    made = loose.model.steps[1].part
    assert torch.allclose(made.decoder.norm(dim=1), torch.ones(64), atol=1e-5)
    x, t = taps(net, rows, {at: net.steps[1].part})[at]
    own = {name: getattr(made, name) for name in NAMES}
    first = begun(own, x, t, torch.Generator().manual_seed(0))
    assert gap(first["centre"], x.mean(0)) < 1e-5 and gap(first["offset"], t.mean(0)) < 1e-5
    assert told(own, x, t)._asdict() == {name: figure[at] for name, figure in loose.report.items()}


@torch.no_grad()
def test_an_autoencoder_stands_behind_the_channel_that_stays():
    net, rows = shake(by.build("gla", "tiny").double()).eval(), by.Batch(ids())
    found = make_transform("transcode:features=24,steps=3,reads=output,on=steps.1.part").apply(net, [rows])
    chain = found.model.steps[1].part
    assert torch.equal(chain.first.down.weight, net.steps[1].part.down.weight) and found.covered.keys() == {
        "steps.1.part"
    }
    x = normal(2, 4, 32)
    assert gap(chain(x)[0], chain.second(net.steps[1].part(x)[0])[0]) < 1e-12
    assert type(found.model.steps[3].part) is type(net.steps[3].part)
    padded = by.Batch(torch.nn.functional.pad(rows.tokens, (0, 2)), valid=torch.arange(9).expand(3, 9) < 7)
    pairs = [taps(net, [each], {"steps.1.part": net.steps[1].part})["steps.1.part"] for each in (rows, padded)]
    assert gap(pairs[0][0], pairs[1][0]) < 1e-10 and pairs[1][1].shape == (21, 32)


def test_a_height_between_points_is_read_off_a_line():
    points = [(4.0, 1.0), (2.0, 3.0)]
    assert study.read_off(points, 3.0) == 2.0 and study.read_off(points, 2.0) == 3.0
    assert study.read_off(points, 5.0) is None


def test_two_lines_are_compared_wherever_both_are_known():
    """At the places of either; one that does not rise is no measure."""
    other = [(2.0, 1.0), (6.0, 3.0)]
    assert study.times([(2.0, 2.0), (6.0, 6.0)], other) == 2.0
    assert study.times([(0.0, 9.0), (4.0, 5.0), (8.0, 1.0)], other) == (5 + 7 + 3) / (2 + 1 + 3)
    assert study.times([(7.0, 1.0), (9.0, 1.0)], other) is None is study.times(other, [(2.0, -1.0), (6.0, 0.5)])


@pytest.mark.parametrize("rises, verdict", [
    ((0.5, 1.0, 1.1), HOLDS), ((0.1, 0.1, 1.2), OPEN), ((1.2, 3.0, 1.5), FAILS), ((0.5, None, 0.5), OPEN),
    ((1.2, None, 1.2), FAILS),
])  # fmt: skip
def test_dictionaries_are_on_par_in_every_seed_or_it_is_open(rises, verdict):
    """A mean that lies below the bar says nothing of a seed that does not; what is paired is of one seed."""
    scores, figures = {"whole": [1.0, 2.0, 3.0]}, [{} for _ in rises]
    for i in range(4):
        scores[f"autoencoder{i}"] = [whole + 1.0 for whole in scores["whole"]]
        scores[f"transcoder{i}"] = [None if r is None else w + r - 1e-12 for r, w in zip(rises, scores["whole"])]
        for seed, seen in enumerate(figures):
            seen |= {f"{kind}{i} l0": 10.0 * seed + i for kind in study.READS}
    report = SimpleNamespace(arm=lambda name: SimpleNamespace(score=SimpleNamespace(per_seed=scores[name])))
    found = study.on_par("text", "features", 1.1).judge(report, figures)
    known = [rise for rise in rises if rise is not None]
    assert found.verdict == verdict and found.value == pytest.approx(sum(known) / len(known))


@torch.no_grad()
def test_the_study_counts_features_of_the_model_of_its_seed():
    """Counted by hand on the dictionary itself; a kind is as dead as its worst dictionary."""
    rows = [by.Batch(ids(16, 32))]
    base = shake(by.build("llama", "tiny", layers=4)).eval()
    made = {
        kind: make_transform(f"transcode:features=24,steps=2,reads={reads},on={study.WHERE}").apply(base, rows).model
        for kind, reads in study.READS.items()
    }
    quiet = make_transform(f"transcode:features=24,steps=2,on={study.WHERE}").apply(base, rows).model
    quiet.steps[5].part.bias[:20].fill_(-1e9)
    told_of = study.features(Given(3, "smoke", lambda race, arm: quiet if arm == "transcoder2" else made[arm[:-1]]))
    text = study.load_text().test.tokens[: 2 * study.LENGTH].astype("int64")
    test = [by.Batch(torch.from_numpy(text).view(2, -1))]
    parts = {"transcoder": made["transcoder"].steps[5].part, "autoencoder": made["autoencoder"].steps[5].part.second}
    for kind, own in parts.items():
        x, t = taps(base, test, {study.WHERE: base.steps[5].part})[study.WHERE]
        counted = told({name: getattr(own, name) for name in NAMES}, t if kind == "autoencoder" else x, t)
        assert told_of[f"{kind}0 l0"] == pytest.approx(counted.l0) and 1 < counted.l0 < 23
        assert kind == "transcoder" or told_of[f"{kind} dead"] == pytest.approx(counted.dead)
    assert told_of["transcoder2 l0"] < told_of["transcoder1 l0"] and told_of["transcoder dead"] >= 20 / 24
