"""What must hold of projections made of blocks and thin matrices, and of the full matrix that leads them."""

import math

import numpy as np
import pytest
import torch
from system_cases import F64, gap, normal, shake, tokens

import blockyard as by
from blockyard.core import Axis, Cat, Site
from blockyard.core.call import Call, Moment
from blockyard.core.site import BuildContext
from blockyard.core.spec import linear
from blockyard.model.attach import attached
from blockyard.model.count import count_flops, count_params, on_meta, training_flops
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform

THREE = (
    linear("low_rank", rank=4, start="orthonormal"), linear("block_dense", blocks=2, rank=4),
    linear("block_shuffle", blocks=4),
)  # fmt: skip
SHAPES = ((16, 24), (16, 16), (24, 16))
TINY = dict(dim=32, layers=2, heads=2, vocab=64)


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, (4, 17))


def made(spec, reads=16, writes=24, biased=False, gain=1.0):
    site = Site("", Axis("reads", reads), BuildContext(0, spec))
    return site.linear("made", site.stream, Axis("writes", writes), bias=biased, gain=gain).double()


def blocks_of(weight, b):
    return torch.block_diag(*weight.unflatten(0, (b, -1)))


def matrix(part):
    """The matrix that a factored projection is, from its definition."""
    name, b = part.spec.name, part.spec.get("blocks", 2)
    if name == "low_rank":
        return part.up @ part.down
    if name == "block_dense":
        return part.up @ blocks_of(part.down, b)
    z = blocks_of(part.down, b)
    inner, shuffle = len(z), torch.zeros(len(z), len(z), dtype=F64)
    for f in range(inner):  # number f goes to block f mod b, behind those that went there before
        shuffle[f % b * (inner // b) + f // b, f] = 1
    out = blocks_of(part.up, b) @ shuffle @ z
    turns = [k * (len(out) // b) + n for n in range(len(out) // b) for k in range(b)]
    return out[turns]


@torch.no_grad()
@pytest.mark.parametrize("spec", THREE, ids=lambda s: s.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_factors_are_one_matrix(spec, shape):
    """(1) factor form == materialised matrix, for any order of the sides; parameters as published."""
    part, (M, N), x = shake(made(spec, *shape, biased=True)), shape, normal(2, 3, shape[0])
    assert gap(part(x), x @ matrix(part).T + part.bias) < 1e-12
    assert gap(part(x[0, 0]), part(x)[0, 0]) < 1e-12 and part(x[:, :0]).shape == (2, 0, N)
    count = {"low_rank": 4 * (M + N), "block_dense": 4 * M // 2 + 4 * N, "block_shuffle": min(M, N) * (M + N) // 4}
    assert sum(p.numel() for p in part.parameters()) == count[spec.name] + N


@torch.no_grad()
def test_every_output_meets_every_input():
    """(1) of the shuffled form, where each block gives each block a number; of the block-diagonal factors alone not."""
    assert (matrix(made(linear("block_shuffle", blocks=4))).abs() > 1e-9).all()
    assert matrix(made(linear("block_shuffle", blocks=4, rank=16), 16, 24)).shape == (24, 16)
    part = made(linear("block_shuffle", blocks=4, rank=8))
    assert part.down.shape == (8, 4) and part.up.shape == (24, 2)


@torch.no_grad()
@pytest.mark.parametrize("spec", THREE, ids=lambda s: s.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_singular_values_are_one_at_first(spec, shape):
    """(3) of every factor and block; the last one has the gain that the place asks for."""
    part = made(spec, *shape, gain=0.3)
    down, up = (spec.get("blocks", 1), spec.get("blocks", 1) if spec.name == "block_shuffle" else 1)
    for weight, b, size in ((part.down, down, 1.0), (part.up, up, 0.3)):
        values = torch.linalg.svdvals(weight.unflatten(0, (b, -1)))
        assert gap(values, torch.full_like(values, size)) < 1e-6
    assert part.bias is None and part.down.std() > 0


@torch.no_grad()
def test_with_one_block_they_are_the_plain_products():
    """(5) BlockDense of one block is LowRank, BlockShuffle of one block the product of two full factors."""
    x, thin = normal(3, 16), made(linear("low_rank", rank=4, start="orthonormal"))
    one = made(linear("block_dense", blocks=1, rank=4))
    assert torch.equal(one.down, thin.down) and torch.equal(one.up, thin.up) and gap(one(x), thin(x)) < 1e-12
    full = made(linear("block_shuffle", blocks=1))
    assert full.down.shape == (16, 16) and gap(full(x), x @ full.down.T @ full.up.T) < 1e-12


def test_where_nothing_is_said_two_blocks_stand():
    """With sixteen numbers between a block-diagonal matrix and a thin one, else as many as the narrower side has."""
    dense, shuffle = (made(linear(name), 48, 64) for name in ("block_dense", "block_shuffle"))
    assert dense.down.shape == (16, 24) and dense.up.shape == (64, 16)
    assert shuffle.down.shape == (48, 24) and shuffle.up.shape == (64, 24)


@pytest.mark.parametrize("settings, says", [
    (dict(blocks=3), "blocks=3 does not divide"), (dict(blocks=2, rank=5), "blocks=2 does not divide 5"),
    (dict(blocks=5, rank=5), "blocks=5 does not divide"),
])  # fmt: skip
@pytest.mark.parametrize("name", ["block_dense", "block_shuffle"])
def test_what_does_not_divide_is_refused(name, settings, says):
    with pytest.raises(by.UsageError, match=says):
        made(linear(name, **settings))


@pytest.mark.parametrize("spec", [*THREE, linear("guided", base=THREE[0])], ids=lambda s: s.name)
def test_its_matrices_are_decayed_and_nothing_else(spec):
    net = by.build(by.spec("vit", "tiny", dim=32).at("steps.1.part.up", spec=spec))
    uses = [use for use in net.uses if use.path.startswith("steps.1.part.up.")]
    assert len(uses) == (4 if spec.name == "guided" else 2)
    assert all(use.decay == (len(use.axes) == 2) and (use.reads is None) == use.kept for use in uses)


def test_its_sides_cannot_be_narrowed_alone():
    net = by.build("structured_ffn", **TINY, structure="block_shuffle", guided=False)
    for axis in ("stream", "steps.1.part.inner", "steps.1.part.up.each"):
        with pytest.raises(by.UsageError, match="its runs of channels have matrices of their own"):
            make_transform(f"take:axis={axis},index=(0,1)").plan(net)


def at(part, x, progress):
    call = Call.plain(x)._replace(tick=0, progress=progress, dtype=x.dtype)
    return part(x, call), call.captures


@torch.no_grad()
@pytest.mark.parametrize("spec", THREE, ids=lambda s: s.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_at_first_the_guide_is_what_it_leads(spec, shape):
    """(2) with the guide made of the identity pushed through the factors, every a gives one output."""
    part, x = made(linear("guided", base=spec), *shape, biased=True), normal(2, 3, shape[0])
    assert gap(part.guide, matrix(part.base)) < 1e-6
    outputs = [at(part, x, progress)[0] for progress in (0.0, 0.1, 0.3, 0.5, 0.9)]
    assert all(gap(y, part.base(x)) < 1e-5 for y in outputs)


@torch.no_grad()
def test_the_published_guide_of_two_factors_is_another_matrix():
    """(2) the product of the two block-diagonal factors without shuffles is not what the shuffled form does."""
    part = made(linear("block_shuffle", blocks=4), 16, 16)
    wrong = blocks_of(part.up, 4) @ blocks_of(part.down, 4)
    assert (wrong - matrix(part)).norm() / matrix(part).norm() > 1


@pytest.mark.parametrize(
    "progress, a", [(0.0, 1.0), (0.125, (1 + math.sqrt(0.5)) / 2), (0.25, 0.5), (0.5, 0.0), (0.8, 0.0)]
)
def test_the_guide_fades_by_a_cosine(progress, a):
    """(2) a from 1 to 0 over the first half; at a = 0 no gradient reaches the guide."""
    part, x = shake(made(linear("guided", base=THREE[0]), biased=True)), normal(2, 3, 16)
    y, captures = at(part, x, progress)
    want = a * (x @ part.guide.T + part.guide_bias) + (1 - a) * part.base(x)
    assert gap(y, want) < 1e-7 and gap(part.led(progress) * torch.ones(1), a * torch.ones(1)) < 1e-6
    slopes = torch.autograd.grad(y.sum(), [part.guide, part.guide_bias, part.base.up], allow_unused=True)
    assert [slope is None for slope in slopes] == [a == 0, a == 0, False]
    part.update({name.partition(":")[2]: value for (*_, name), value in captures.items()})
    assert abs(part.share.item() - a) < 1e-6 and gap(part(x), want) < 1e-6


def test_in_pieces_and_made_again_a_run_is_the_same():
    """(2) recomputation changes no bit and micro-batches nothing but rounding; the guide ends switched off."""
    found = []
    for recompute, micro in ((False, None), (True, None), (False, 1)):
        spec = by.spec("structured_ffn", **TINY).but(program=by.spec("llama", "tiny")["program"])
        net = by.build(spec).double()
        net.recompute = recompute
        train(spec, net, Noise(), Settings(steps=3, lr=1e-2, micro=micro))
        found.append(net.state_dict())
    plain, again, pieces = found
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert max(gap(pieces[name], plain[name]) for name in plain) < 1e-9
    assert plain["steps.1.part.up.share"] == 0 and plain["steps.3.part.down.share"] == 0
    first = by.build("structured_ffn", **TINY).double()
    assert gap(first.steps[1].part.up.guide, plain["steps.1.part.up.guide"]) > 1e-3
    assert first.steps[1].part.up.share == 1
    plain_net = by.build(spec).double()
    plain_net.load_state_dict(plain)
    off = make_transform("detach").apply(plain_net).model
    assert torch.equal(off(tokens(2, 9, 64)).logits, plain_net(tokens(2, 9, 64)).logits)


def test_the_recipe_drops_the_guide_half_way():
    """(2) what comes out has no guide; (4) operations are charged as the phases cost."""
    spec = by.spec("structured_ffn", **TINY)
    net = by.build(spec)
    assert sum("guide" in name for name in attached(net)) == 4
    done = train(spec, net, Noise(), Settings(steps=4, lr=1e-2)).model
    bare = by.build("structured_ffn", **TINY, guided=False)
    assert not attached(done) and {n: p.shape for n, p in done.named_parameters()} == {
        n: p.shape for n, p in bare.named_parameters()
    }
    plain = by.spec("structured_ffn", **TINY, guided=False)
    guides = 2 * 2 * 2 * 32 * 128  # operations a token: two layers, two matrices, a multiply-add each
    assert training_flops(spec, 16) == training_flops(plain, 16) + 3 * guides / 2
    assert count_params(spec) == count_params(plain)


def test_operations_are_those_of_the_formula():
    """(4) r (M + N), r M / b + r N and r (M + N) / b multiply-adds a token; a dense channel has M N."""
    dense = count_flops(on_meta(by.spec("polycom", **TINY, activation="gelu")), 8)
    for structure, mults in (
        ("low_rank", 8 * (32 + 128) * 2), ("block_dense", 10 * (16 + 128 + 64 + 32)), ("block_shuffle", 8 * 160 * 2),
    ):  # fmt: skip
        spec = by.spec("structured_ffn", **TINY, structure=structure, guided=False)
        assert dense - count_flops(on_meta(spec), 8) == 8 * 2 * 2 * (2 * 32 * 128 - mults), structure


@torch.no_grad()
@pytest.mark.parametrize("structure", ["low_rank", "block_dense", "block_shuffle"])
def test_folded_it_is_the_same_function(structure):
    """(4) pre-merge: every factored matrix becomes a full one, the guide as it then counts included."""
    net = shake(by.build("structured_ffn", **TINY, structure=structure).double())
    net.steps[1].part.up.share.fill_(0.25)
    folded = make_transform("fold").apply(net)
    assert gap(folded.model(tokens(2, 9, 64)).logits, net(tokens(2, 9, 64)).logits) < 1e-10
    assert len(folded.covered) == 4 and not any(part.spec.name == "guided" for part in folded.model.parts())
    up = net.steps[1].part.up
    assert gap(folded.model.steps[1].part.up.weight, 0.25 * up.guide + 0.75 * matrix(up.base)) < 1e-12
    once = make_transform("fold:on=steps.1.part.up").apply(net).model
    assert [p.spec.name for p in (once.steps[1].part.up, once.steps[1].part.down)] == ["dense", "guided"]
    plain = by.build("structured_ffn", **TINY, structure=structure, guided=False)
    assert sum(p.numel() for p in make_transform("fold").apply(plain).model.parameters()) == sum(
        p.numel() for p in by.build("polycom", **TINY, activation="gelu").parameters()
    )


@torch.no_grad()
def test_folding_keeps_biases_edits_and_what_it_does_not_cover():
    pair = linear("lora", rank=2, base=linear("dense", bias=True))
    spec = by.spec("vit", "tiny").at("steps.1.part.up", spec=pair)
    spec = spec.at("steps.3.part.up", spec=linear("low_rank", rank=3), **{"axes.rank": 2})
    spec = spec.at("steps.*.part.down", bias=False).at("steps.3.part", inner=40)
    net = shake(by.build(spec).double())
    x = by.Batch(net.example(2, 16, torch.Generator().manual_seed(0)).tokens.double())
    assert net.steps[1].part.up.base.bias is not None and net.steps[3].part.up.down.shape == (2, 32)
    made = make_transform("fold").apply(net)
    assert list(made.covered) == ["steps.1.part.up", "steps.3.part.up"]
    assert [made.model.steps[i].part.up.bias is None for i in (1, 3)] == [False, True]
    assert gap(made.model(x).prediction["classes"], net(x).prediction["classes"]) < 1e-10
    assert made.model.steps[1].part.down.bias is None and made.model.steps[3].part.down.weight.shape == (32, 40)
    with pytest.raises(by.UsageError, match=r"fold: no projection at \*\.qkv is made of several factors"):
        make_transform("fold:on=*.qkv").plan(net)
    half = make_transform("fold").apply(net.bfloat16()).model
    assert half.steps[1].part.up.weight.dtype is torch.bfloat16
    thin = net.steps[1].part.up  # what is added to the output leaves no trace in the matrix, which is rounded once
    want = thin.base.weight.double() + thin.up.double() @ thin.down.double()
    assert torch.equal(half.steps[1].part.up.weight, want.bfloat16())


def test_attention_stays_dense_and_a_channel_chooses_its_own_kind():
    net = by.build("structured_ffn", **TINY)
    kinds = {p.path: p.spec.name for p in net.parts() if p.spec.kind == "linear" and not p.path.endswith(".base")}
    assert set(kinds.values()) == {"dense", "guided"}
    assert all((name == "guided") == path.endswith((".up", ".down")) for path, name in kinds.items())
    gated = by.make("channel:gated", dim=16, linear=linear("low_rank", rank=2))
    assert gated.up.spec.name == gated.down.spec.name == "low_rank" and isinstance(gated.layout, Cat)
    with net.training_at(Moment(0, 0, progress=0.1)):
        assert net(tokens(2, 5, 64)).logits.isfinite().all()
    with pytest.raises(by.UsageError, match="structure=round"):
        by.spec("structured_ffn", structure="round")
