"""LLM.int8: the lines of its card, against whole numbers of numpy; and the exact rescale that plants outliers."""

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Axis, Site
from blockyard.core.call import Call
from blockyard.core.errors import UsageError
from blockyard.core.site import BuildContext
from blockyard.core.spec import Spec, linear
from blockyard.kernels.weights import int8_rows, int8_rows_of
from blockyard.model.save import stored
from blockyard.transform._base import make_transform
from blockyard.transform._sweep import projections

ROWS = Spec("store", "int8_rows")


def part(kind="int8_outliers", dim=24, writes=24, **settings):
    """A projection of 24 channels to as many, in double precision where its store learns."""
    site = Site("", Axis("reads", dim), BuildContext(0, linear(kind, **settings)))
    made = site.linear("made", site.stream, Axis("writes", writes))
    return made if made.weight.dtype == torch.int8 else made.double()


def inputs(rows=7, dim=24, outliers=(3, 17), seed=0):
    x = torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)
    x[2, list(outliers)] = torch.tensor([9.0, -40.0, 12.0][: len(outliers)], dtype=torch.float64)
    return x


def literal(x, w, apart):
    """Whole numbers of 64 bits for the columns that are left, doubles for the others."""
    left = [j for j in range(x.shape[1]) if j not in apart]
    cx, cw = np.abs(x[:, left]).max(1, keepdims=True), np.abs(w[:, left]).max(1, keepdims=True)
    x8 = np.round(x[:, left] / (cx / 127)).astype(np.int64)
    w8 = np.round(w[:, left] / (cw / 127)).astype(np.int64)
    assert np.abs(x8).max() == np.abs(w8).max() == 127
    return (x8 @ w8.T) * (cx / 127) * (cw.T / 127) + x[:, list(apart)] @ w[:, list(apart)].T


@torch.no_grad()
@pytest.mark.parametrize("outliers", [(), (3, 17), (0, 5, 23)])
def test_the_oracle_says_the_same(outliers):
    made, x = part(), inputs(outliers=outliers)
    assert made.outliers(x).nonzero().flatten().tolist() == list(outliers)
    want = literal(x.numpy(), made.weight.numpy(), outliers)
    assert np.allclose(made(x).numpy(), want, rtol=1e-12, atol=1e-12)
    fixed = part("int8")
    fixed.apart[list(outliers)] = True
    assert torch.equal(fixed(x), made(x))


@torch.no_grad()
def test_1_with_all_columns_apart_it_is_the_dense_product():
    """(1)"""
    made, x = part(alpha=1e-12, bias=True), inputs()
    made.bias.normal_(generator=torch.Generator().manual_seed(1))
    assert torch.equal(made(x), torch.nn.functional.linear(x, made.weight, made.bias))
    assert not torch.equal(part(bias=True)(x), torch.nn.functional.linear(x, made.weight))
    kept = part(alpha=1e-12, store=ROWS)  # of codes alone the dense product of what they stand for
    assert torch.equal(kept(x.float()), torch.nn.functional.linear(x.float(), kept.matrix()))


@torch.no_grad()
def test_2_without_an_alpha_it_is_8_bits_by_rows():
    """(2)"""
    x = inputs()
    want = literal(x.numpy(), part().weight.numpy(), ())
    for made in (part(alpha=None), part(alpha=1e9), part("int8")):
        assert np.allclose(made(x).numpy(), want, rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("alpha", [None, 6.0])
def test_3_no_element_is_further_off_than_its_codes_allow(alpha):
    """(3)"""
    made, x = part(alpha=alpha), inputs(rows=200)
    w, left = made.weight, ~made.outliers(x)
    cx, cw = x[:, left].abs().amax(1), w[:, left].abs().amax(1)
    x_sum, w_sum = x[:, left].abs().sum(1), w[:, left].abs().sum(1)
    many = int(left.sum())
    bound = cx[:, None] * w_sum[None] / 254 + x_sum[:, None] * cw[None] / 254 + many * cx[:, None] * cw[None] / 254**2
    off = (made(x) - x @ w.T).abs()
    assert (off <= bound * (1 + 1e-9)).all() and off.max() > 0.05 * bound.min()


@torch.no_grad()
def test_4_a_token_times_a_power_of_two_is_that_many_times_as_much():
    """(4)"""
    made, x = part(), inputs()
    larger, y = x.clone(), made(x)
    larger[2] *= 2.0**5  # its outliers stay outliers, its others are below alpha / 32 or not: ask of those that were
    larger[4] *= 2.0**-3
    apart = made.outliers(x)
    again = part("int8")
    again.apart.copy_(apart)
    assert torch.equal(again(larger)[2], y[2] * 2.0**5) and torch.equal(again(larger)[4], y[4] * 2.0**-3)
    assert torch.equal(made.outliers(x * 1.0), apart) and torch.equal(again(larger)[0], y[0])


@torch.no_grad()
@pytest.mark.parametrize("settings", [dict(), dict(alpha=None), dict(alpha=None, scales="one"), dict(store=ROWS)])
def test_5_tokens_of_nought_become_nought(settings):
    """(5)"""
    made = part(**settings)
    x = inputs().to(torch.float32 if made.weight.dtype == torch.int8 else torch.float64)
    x[4] = 0
    assert (made(x)[4] == 0).all() and made(x).isfinite().all() and (made(0 * x) == 0).all()
    if made.weight.dtype != torch.int8:
        made.weight[5] = 0
        assert (made(x)[:, 5] == 0).all()


@torch.no_grad()
def test_6_sums_fit_into_32_bits():
    """(6) The largest products there are, at the most columns; one more thousand and they would not."""
    from blockyard.parts.linear._int8 import MOST, int_product

    full = torch.full((1, MOST), 127.0)
    assert int_product(full, -full).item() == -(127**2) * MOST and 127**2 * MOST < 2**31 - 1 < 127**2 * (MOST + 1000)
    draw = np.random.default_rng(0)
    a, b = (draw.integers(-127, 128, (3, 5000)) for _ in range(2))
    got = int_product(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert got.dtype == torch.int32 and np.array_equal(got.numpy(), a @ b.T)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(int_product(torch.from_numpy(a).float(), torch.from_numpy(b).float()).numpy(), a @ b.T)
    with torch.device("meta"), pytest.raises(UsageError, match="133,000 do"):
        part(dim=MOST + 1)


@torch.no_grad()
def test_what_is_large_is_asked_of_tokens_that_count():
    """Found in every batch, one row's outlier changes another's output; what does not count has no say."""
    made, x = part(), inputs().view(1, 7, 24).expand(2, 7, 24).clone()
    x[1, 2] = x[0, 3]
    alone = made(x[1:])
    assert not torch.equal(made(x)[1:], alone)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[0] = False
    assert torch.equal(made(x, Call.plain(x)._replace(valid=valid))[1:], alone)
    one = part(alpha=None, scales="one")  # nor in the one scale
    small, few = x.clamp(-2, 2), valid.clone()
    small[0, 0, 0], few[0, 1:] = 100.0, True
    assert torch.equal(one(small, Call.plain(x)._replace(valid=valid))[1:], one(small[1:]))
    behind = torch.cat([small[0, 1:], small[1]])
    assert torch.equal(one(small, Call.plain(x)._replace(valid=few)).flatten(0, 1)[1:], one(behind))
    assert not torch.equal(one(small)[1:], one(small[1:])) and one(x[:, :0]).shape == (2, 0, 24)
    fixed = part("int8")
    assert torch.equal(fixed(x)[1:], fixed(x[1:]))


@torch.no_grad()
def test_a_matrix_in_8_bits_a_row():
    w = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    w[3] = 0
    codes, scale = int8_rows_of(int8_rows(w))
    want = np.round(w.numpy() / np.maximum(np.abs(w.numpy()).max(1, keepdims=True) / 127, 1e-30).astype(np.float32))
    assert np.array_equal(codes.numpy(), want) and scale.shape == (5, 1) and scale[3] == 0
    assert ((codes * scale - w).abs() <= scale / 2 * (1 + 1e-6)).all()
    table = by.build("llama", "tiny", **{"stem.store": "int8_rows"})
    ids = torch.tensor([[3, 250]])
    assert torch.equal(table.stem.store.embedding(ids, table.stem.table), table.stem.store.full(table.stem.table)[ids])


def model(name="llama"):
    return by.build(name, "tiny").eval()


def batches(made):
    return [made.example(2, 16, torch.Generator().manual_seed(seed)) for seed in range(2)]


SLOW = ("gla", "gated_deltanet", "gpt2")


def says(made, seed=7):
    with torch.no_grad():
        return made(made.example(2, 16, torch.Generator().manual_seed(seed)).tokens).logits


@pytest.mark.parametrize("name", ["llama", "mamba2_hybrid",
                                  *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])  # fmt: skip
def test_a_whole_model_is_saved_and_goes_on_from_a_state(name, tmp_path):
    made = model(name)
    small = make_transform("int8:alpha=2.5").apply(made, batches(made))
    assert 0 < small.report["share_apart"] < 1
    tensors, full = stored(small.model), sum(t.numel() * 4 for t in stored(made).values())
    assert sum(t.numel() * t.element_size() for t in tensors.values()) < full / 1.5
    gap = (says(small.model) - says(made)).abs().max() / says(made).abs().max()
    assert 0 < gap < 0.15 and small.model.claims.items() >= {("causal", True), ("streams", True)}
    small.model.save(tmp_path / "m")
    again = by.load(tmp_path / "m").eval()
    assert torch.equal(says(again), says(small.model))
    ids = torch.arange(2, 14).view(1, 12)
    with torch.no_grad():
        whole, state = again(ids).logits, again.init_state(1)
        pieces = []
        for piece in ids.split([5, 1, 6], dim=1):
            out = again(piece, state)
            state = out.state
            pieces.append(out.logits)
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=2e-3 * float(whole.abs().max()))


def test_found_in_every_batch_a_model_promises_less():
    made = make_transform("int8:outliers=batch").apply(model()).model
    assert not {"causal", "streams", "row_independent", "packs"} & set(made.claims)
    with pytest.raises(UsageError, match=r"a state needs a model that goes on from a state.*linear:int8_outliers does"):
        made(torch.zeros(1, 3, dtype=torch.long), made.init_state(1))


@torch.no_grad()
def test_columns_of_the_data_are_those_that_were_large():
    made = model()
    data = batches(made)
    found = make_transform("int8:alpha=2").apply(made, data)
    for part_ in projections(made):
        point = f"{part_.path}:linear_in"
        read = [next(iter(made(each, points={point: "read"}).captures.values())).flatten(0, 1) for each in data]
        want = (torch.cat(read).abs() >= 2).any(0)
        assert torch.equal(found.model.get_submodule(part_.path).apart, want)
        assert found.report["apart"][part_.path] == int(want.sum())


@torch.no_grad()
def test_planted_outliers_part_the_forms():
    """8 bits break on them, columns apart do not, and columns made of codes do: their rounding counts 50 times."""
    made = make_transform("rescale:channels=3,factor=50").apply(model()).model
    data, want = batches(made), says(model())
    assert (says(made) - want).abs().max() < 1e-5 * want.abs().max()
    gaps = {}
    for name in ("batch,store=dense", "data,store=dense", "batch,store=int8_rows", "nowhere,store=dense",
                 "nowhere,scales=one,store=dense"):  # fmt: skip
        gaps[name] = float((says(make_transform(f"int8:outliers={name}").apply(made, data).model) - want).norm())
    kept, fixed, codes, vector, tensor = gaps.values()
    assert 5 * kept < codes and 5 * kept < vector < tensor and 5 * fixed < vector


def test_what_cannot_be_done_is_a_line():
    with pytest.raises(UsageError, match="is fitted to data"):
        make_transform("int8").apply(model())
    with pytest.raises(UsageError, match="say outliers=batch or nowhere"):
        make_transform("int8:scales=one")
    with pytest.raises(UsageError, match="no projection in full numbers"):
        made = model()
        make_transform("int8:outliers=nowhere").plan(make_transform("int8:outliers=nowhere").apply(made).model)
    with pytest.raises(UsageError, match=r"no part's path matches '\*.dwon'"):
        make_transform("int8:keep=*.dwon").plan(model())
    with pytest.raises(UsageError, match="multiplies in 8 bits and does not learn"):
        part("int8").become(torch.zeros(24, 24))
