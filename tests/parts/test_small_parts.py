"""Depth programs, heads, stems, linears and stores where their claims do not look: defaults, starts and refusals."""

import pytest
import torch

import blockyard as by
from blockyard.core import Axis, Call, Cat, Site, Spec
from blockyard.core.registry import find
from blockyard.core.site import BuildContext
from blockyard.kernels.weights import dense

READS, WRITES = 320, 480


def tiny(**overrides):
    return by.build(by.spec("llama", "tiny", **{key.replace("__", "."): value for key, value in overrides.items()}))


def linear(name, biased=False, gain=3.0, **settings):
    """A projection as the site of a part builds it, with what the context was told."""
    context = BuildContext(0, Spec.of("linear", name, settings))
    site = Site("", Axis("stream", READS), context)
    return site.linear("made", site.stream, Axis("writes", WRITES), bias=biased, gain=gain), context


@torch.no_grad()
def test_a_stem_multiplies_what_it_looks_up():
    """What it looks up, and not what a tied head scores with."""
    one, other = tiny(stem__scale=3.0), tiny(head__tied=False)
    other.head.table.copy_(one.stem.table)
    other.stem.table.copy_(3 * one.stem.table)
    tokens = torch.arange(12)[None]
    assert torch.allclose(one(tokens).logits, other(tokens).logits, atol=1e-5)
    assert not torch.allclose(one(tokens).logits, tiny()(tokens).logits, atol=1e-2)


@pytest.mark.parametrize("name", ["stack", "shared"])
def test_a_depth_program_of_one_block(name):
    made = find("depth", name).load_named()
    site = Site("depth", Axis("stream", 8), BuildContext(0, Spec("linear", "dense")))
    assert made(site, ("a",)).plan() == ([("a", 1)] * 2 if name == "stack" else [("a", 2)])
    with pytest.raises(by.UsageError, match="repeats one block, given a, b"):
        made(site, ("a", "b"))


def near(tensor, std):
    return abs(float(tensor.detach().std()) / std - 1) < 0.05


def test_a_dense_linear_starts_as_its_equation_says():
    made, _ = linear("dense")
    assert made.bias is None and near(made.weight, 3.0 * READS**-0.5)
    for asked, bias, there in ((True, None, True), (True, False, False), (False, True, True)):
        made, context = linear("dense", asked, bias=bias)
        assert (made.bias is not None) == there
    assert made.bias.shape == (WRITES,) and not made.bias.any() and context.tensors["made.bias"] is made.bias
    made.bias.data += torch.randn(WRITES)
    x = torch.randn(2, READS)
    assert torch.allclose(made(x), x @ made.weight.T + made.bias, atol=1e-5)
    plain = Call.plain(x[None])
    assert torch.equal(made(x[None], plain), made(x[None]))
    halved = plain._replace(points={("made", "linear_in"): lambda v: v / 2, ("made", "linear_out"): lambda v: v + 1})
    assert torch.allclose(made(x[None], halved), made(x[None] / 2) + 1, atol=1e-5)


def test_a_low_rank_linear_starts_as_its_equation_says():
    made, context = linear("low_rank", True, rank=64)
    assert near(made.down, READS**-0.5) and near(made.up, 3.0 * 64**-0.5)
    assert made.down.shape == (64, READS) and made.bias.shape == (WRITES,) and not made.bias.any()
    assert {use.path: use.decay for use in context.uses} == {"made.down": True, "made.up": True, "made.bias": False}
    plain, _ = linear("low_rank")
    assert plain.bias is None and plain.down.shape[0] == 16
    made.bias.data += torch.randn(WRITES)
    x = torch.randn(2, READS)
    assert torch.allclose(made(x), x @ made.matrix().T + made.bias, atol=1e-4)


def test_a_stem_is_a_table():
    assert find("stem", "tokens").schema["vocab"] == 256
    stem = tiny().stem
    assert stem.vocab.size == 256 and stem.vocab.ordered and stem.like is None
    assert near(tiny(dim=256).stem.table, 256**-0.5)
    packed = tiny(stem__store="packed")
    assert packed.stem.like.numel() == 0 and packed.to(torch.bfloat16).stem.like.dtype == torch.bfloat16
    assert "stem.like" in packed.state_dict()
    call = Call.plain(torch.zeros(1, 3, 1))
    assert packed.stem(by.Batch(torch.arange(3)[None]), call)[0].dtype == torch.bfloat16


def test_a_head_is_tied_unless_told_otherwise():
    tied, free = tiny(), tiny(tied=False)
    assert find("head", "lm").schema["tied"] is True and tied.head.table is tied.stem.table
    assert free.head.table is not free.stem.table and free.head.table.shape == free.stem.table.shape
    assert near(tiny(tied=False, dim=256).head.table, 256**-0.5)
    with pytest.raises(by.UsageError, match="head: a tied table is kept as the stem's is"):
        tiny(head__store="packed")
    x = torch.randn(1, 3, 32)
    call, bare = Call.plain(x), tiny(head__norm=None)
    assert torch.allclose(bare.head(x, call)[0]["logits"], x @ bare.head.table.T, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_store_is_a_matrix_in_few_bits(bits):
    stream = Axis("stream", 96)
    site, rows = Site("", stream, BuildContext(0, Spec("linear", "dense"))), Cat(Axis("a", 40), Axis("b", 23))
    store, matrix = site.matrix("table", Spec.of("store", "packed", dict(bits=bits)), rows, stream, 0.25)
    with torch.device("meta"):
        planned = store.make(Site("", stream, BuildContext(0, Spec("linear", "dense"))), "table", rows, stream, 0.25)
    assert planned.is_meta and planned.shape == matrix.shape
    full = dense(matrix, bits, 32, 96, torch.arange(63))
    assert full.shape == (63, 96) and abs(float(full.std()) / 0.25 - 1) < 0.1
    x, bias, ids = torch.randn(2, 5, 96), torch.randn(63), torch.tensor([[3, 62, 0], [7, 7, 41]])
    assert (store.linear(x, matrix, bias) - (x @ full.T + bias)).abs().max() < 0.05
    assert torch.equal(store.embedding(ids, matrix), full[ids])
