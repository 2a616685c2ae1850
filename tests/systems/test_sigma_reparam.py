"""What must hold of projections whose largest singular value is learned, and of how widely attention is spread."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from system_cases import F64, gap, normal, shake, tokens

import blockyard as by
from blockyard.compare.run.probes import inside
from blockyard.core import Axis, Cat, Site
from blockyard.core.call import Call
from blockyard.core.site import BuildContext
from blockyard.core.spec import linear
from blockyard.model.count import count_params
from blockyard.probe import attention_entropy_probe
from blockyard.probe.attention_entropy import least_entropy
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform

TINY = {"dim": 32, "layers": 2, "heads": 2, "vocab": 64, "model.linear": "sigma"}


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, (4, 17))


def made(*sizes, reads=16, **settings):
    """A projection to pieces of these sizes, in double precision."""
    site = Site("", Axis("reads", reads), BuildContext(0, linear("sigma", **settings)))
    pieces = [Axis(f"piece{i}", size) for i, size in enumerate(sizes)]
    return site.linear("made", site.stream, Cat(*pieces) if len(pieces) > 1 else pieces[0], bias=False).double()


def norms(part):
    return torch.stack([torch.linalg.matrix_norm(piece, 2) for piece in part.matrix().split(part.sizes)])


@torch.no_grad()
def test_the_largest_singular_value_is_gamma():
    """(1) within 1e-6 from the start on, within 1e-3 after 30 power steps towards other matrices, of every piece."""
    part = made(24, 12, 9)
    assert gap(norms(part), part.gamma) < 1e-6
    part.weight.copy_(normal(45, 16, seed=3) + normal(45, 1, seed=4) * normal(1, 16, seed=5))
    part.gamma.copy_(torch.tensor([2.0, -0.5, 3.0]))
    assert gap(norms(part), part.gamma.abs()) > 0.01
    for _ in range(30):
        part.update({})
    assert gap(norms(part) / part.gamma.abs(), torch.ones(3, dtype=F64)) < 1e-3
    assert gap(part.u.norm(dim=1), torch.ones(3, dtype=F64)) < 1e-12


def test_the_size_of_the_matrix_does_not_matter():
    """(1) W -> c W leaves what multiplies, so <W, dLoss/dW> = 0; a plain projection has neither."""
    part, x = made(24, 12), normal(5, 16)
    (slope,) = torch.autograd.grad((part(x) * normal(5, 36, seed=1)).sum(), part.weight)
    for piece, along in zip(part.weight.split(part.sizes), slope.split(part.sizes)):
        assert abs((piece * along).sum() / (piece.norm() * along.norm())) < 1e-5
    before = part.matrix().detach()
    with torch.no_grad():
        part.weight *= torch.cat([torch.full((24, 1), 7.0), torch.full((12, 1), 0.2)])
    assert gap(part.matrix(), before) < 1e-12
    assert slope.abs().max() > 1e-3
    part.u.mul_(3)  # as where some of what it reads was taken away
    assert gap(part.matrix(), before) < 1e-12


@torch.no_grad()
def test_it_is_the_spectral_norm_of_the_framework():
    """(1) one projection with gamma = 1 against torch's parametrisation, brought to its end."""
    theirs = torch.nn.Linear(16, 24, bias=False).double()
    part, x = made(24, gamma="one"), normal(3, 16)
    part.weight.copy_(theirs.weight)
    torch.nn.utils.parametrizations.spectral_norm(theirs, n_power_iterations=200)
    for _ in range(200):
        part.update({})
    assert gap(part(x), theirs.eval()(x)) < 1e-5 and part.gamma == 1


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "vit"])
def test_at_first_a_model_is_as_without(name):
    """(2) gamma = sigma(W0): the outputs of a model whose projections are reparametrised are those of the plain one."""
    plain, mine = (
        by.build(name, "tiny"),
        by.build(name, "tiny", **{"model.linear": linear("sigma", bias=name == "vit")}),
    )
    batch = plain.example(2, 16, torch.Generator().manual_seed(0))
    said, other = (next(iter(each(batch).prediction.values())) for each in (mine, plain))
    assert gap(said, other) < 1e-5
    one = by.build(name, "tiny", **{"model.linear": linear("sigma", gamma="one")})
    assert gap(next(iter(one(batch).prediction.values())), other) > 1e-3


@torch.no_grad()
def test_folded_it_is_the_parametrised_one():
    """(2) one plain matrix each, what it says in evaluation to 1e-6; (4) evaluation leaves every buffer alone."""
    net = shake(by.build("sigma_reparam", "tiny").double())
    x = by.Batch(net.example(2, 16, torch.Generator().manual_seed(0)).tokens.double())
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    says = net(x).prediction["classes"]
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    found = make_transform("fold").apply(net)
    assert gap(found.model(x).prediction["classes"], says) < 1e-10
    assert {p.spec.name for p in found.model.parts() if p.spec.kind == "linear"} == {"dense"}
    qkv = net.steps[0].part.qkv
    assert torch.equal(found.model.steps[0].part.qkv.bias, qkv.bias) and len(qkv.gamma) == 3
    assert gap(found.model.steps[0].part.qkv.weight, qkv.matrix()) < 1e-12


def trained(recompute=False, micro=None):
    spec = by.spec("llama", **TINY)
    net = by.build(spec).double()
    net.recompute = recompute
    train(spec, net, Noise(), Settings(steps=3, lr=1e-2, micro=micro))
    return net


def test_a_step_makes_one_power_step():
    """(4) whether values are made again in backward or a batch is taken in pieces; u follows its matrix."""
    plain, again, pieces = trained(), trained(recompute=True), trained(micro=1)
    held = plain.state_dict()
    assert all(torch.equal(value, held[name]) for name, value in again.state_dict().items())
    assert max(gap(value, held[name]) for name, value in pieces.state_dict().items()) < 1e-9
    first = by.build("llama", **TINY).double()
    for path in ("steps.0.part.qkv", "steps.1.part.down"):
        part, start = plain.get_submodule(path), first.get_submodule(path)
        assert not torch.equal(part.u, start.u) and not torch.equal(part.gamma, start.gamma)
        followed = norms(part) / part.gamma.abs()
        part.u.copy_(start.u)
        assert (followed >= 1 - 1e-9).all() and (followed < norms(part) / part.gamma.abs()).all()
    part = first.steps[1].part.down
    x = normal(2, 3, part.weight.shape[1])
    for tick, seen in ((None, 0), (0, 1)):
        call = Call.plain(x)._replace(tick=tick)
        part(x, call)
        assert len(call.captures) == seen


def test_gamma_is_a_scalar_that_is_not_decayed():
    net = by.build("llama", **TINY)
    uses = {use.path: use for use in net.uses}
    assert uses["steps.0.part.qkv.weight"].decay and not uses["steps.0.part.qkv.gamma"].decay
    assert uses["steps.0.part.qkv.u"].kept and net.steps[1].part.up.gamma.shape == (2,)
    assert (
        count_params(by.spec("llama", **TINY)) - count_params(by.spec("llama", **TINY | {"model.linear": "dense"}))
        == 14
    )


@torch.no_grad()
def test_in_half_precision_it_is_the_same_matrix():
    part = made(24, 12)
    half = made(24, 12).bfloat16()
    assert gap(half.matrix(), part.matrix()) < 0.01 and half(normal(3, 16).bfloat16()).dtype is torch.bfloat16
    for _ in range(3):
        half.update({})
    assert gap(half.u.abs(), part.u.abs()) < 0.05


def entropy(scores):
    return torch.special.entr(scores.softmax(-1)).sum(-1)


def test_the_bound_holds_and_is_reached():
    """(3) for random X and weights at four scales; equal for the worst scores of a length."""
    draw = torch.Generator().manual_seed(0)
    for scale in (0.03, 0.3, 1.0, 3.0):
        for T in (2, 7, 30):
            x = torch.randn(T, 8, dtype=F64, generator=draw)
            product = scale * torch.randn(8, 8, dtype=F64, generator=draw)
            size = torch.linalg.matrix_norm(product, 2) * torch.linalg.matrix_norm(x @ x.T, 2)
            scores = x @ product @ x.T
            assert (scores.norm(dim=-1) <= size).all()
            assert (entropy(scores) >= least_entropy(size.item(), T) - 1e-12).all()
            longest = scores.norm(dim=-1).max().item()
            assert (entropy(scores) >= least_entropy(longest, T) - 1e-12).all()
    for size, T in ((0.5, 2), (3.0, 10), (12.0, 100)):
        worst = torch.full((T,), -size / math.sqrt(T * (T - 1)), dtype=F64)
        worst[0] = size * math.sqrt((T - 1) / T)
        assert abs(entropy(worst).item() - least_entropy(size, T)) < 1e-13 and abs(worst.norm() - size) < 1e-12
    assert least_entropy(0.0, 8) == pytest.approx(math.log(8))
    with pytest.raises(by.UsageError, match="tokens=1 must be at least 2"):
        least_entropy(1.0, 1)


@torch.no_grad()
def test_the_probe_says_how_widely_each_head_reads():
    """(3) known answers: even weights, weights on one token; padding is left out; loops and rows by themselves."""
    net, ids = by.build("llama", **TINY | {"model.linear": "dense"}), tokens(5, 12, 64)
    net.steps[0].part.qkv.weight.zero_()
    even = attention_entropy_probe(net, ids, batch=2)
    assert set(even) == {"steps.0.part", "steps.2.part"} and even["steps.2.part"].shape == (5, 2)
    want = np.mean([math.log(t + 1) for t in range(12)])
    assert np.allclose(even["steps.0.part"], want) and (even["steps.2.part"] < want).all()
    valid = torch.ones(5, 12, dtype=torch.bool)
    valid[2, 7:] = False
    padded = attention_entropy_probe(net, by.Batch(ids, valid=valid), batch=3)
    alone = attention_entropy_probe(net, ids[2:3, :7])
    assert all(np.allclose(padded[path][2], alone[path][0]) for path in padded)
    assert np.allclose(padded["steps.2.part"][3], even["steps.2.part"][3])
    for step in (0, 2):
        net.steps[step].part.scale = 1e6
    net.steps[0].part.qkv.weight.normal_(generator=torch.Generator().manual_seed(0))
    assert attention_entropy_probe(net, ids)["steps.0.part"].max() < 0.01
    assert attention_entropy_probe(by.build("gla", "tiny"), ids) == {}
    assert "steps.0.part@1" in attention_entropy_probe(by.build("albert", "tiny"), ids)


def test_a_comparison_says_it_too():
    rows = tokens(3, 16).numpy()
    data = SimpleNamespace(plain_text=False, exam=lambda *_: SimpleNamespace(take=lambda _: {"tokens": rows}))
    net = by.build("polycom", "tiny")
    want = [float(each.mean()) for each in attention_entropy_probe(net, rows).values()]
    assert len(want) == 2 and inside(net, data, 16).entropy == pytest.approx(want)
