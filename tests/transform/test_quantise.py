"""Models in few bits: the same model, a little coarser; saved, loaded, written down."""

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.decode.program import Program
from blockyard.model.save import stored
from blockyard.transform.quantise import quantise
from tests.asked import batch

RECIPES = list(registry.entries("recipe"))


def made(name, **settings):
    """The tiny model, wider and deeper where its recipe can be told so."""
    known = registry.find("recipe", name).schema
    large = {key: value for key, value in dict(dim=128, layers=4, heads=2).items() if key in known}
    return by.build(by.spec(name, "tiny", **large, **settings)).eval()


def apart(a, b):
    """How far predictions are apart, for their size: the worst of all that a model says."""
    return max(
        float((said - b.prediction[name]).square().mean().sqrt() / b.prediction[name].square().mean().sqrt())
        for name, said in a.prediction.items()
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_nearly_the_same(name):
    model = made(name)
    if not any(hasattr(part, "store") for part in model.parts()):
        with pytest.raises(by.UsageError, match="no full matrix"):
            quantise(model, 8)
        return
    x = batch(model)
    with torch.no_grad():
        whole = model(x)
        found = {bits: apart(quantise(model, bits)[0](x), whole) for bits in (8, 4)}
    assert found[8] < found[4] and found[8] < 0.2  # where a product of keys is near zero, a norm lays it bare


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba2_hybrid"])
@pytest.mark.parametrize("bits", [8, 4])
def test_saved_and_loaded(name, bits, tmp_path):
    small, _ = quantise(made(name), bits)
    small.save(tmp_path / "m")
    again = by.load(tmp_path / "m")
    assert again.spec == small.spec and stored(again).keys() == stored(small).keys()
    ids = torch.randint(256, (2, 12))
    with torch.no_grad():
        assert torch.equal(again(ids).logits, small(ids).logits)


@pytest.mark.parametrize("bits,group", [(8, 32), (4, 32), (4, 64)])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gla", "mamba2_hybrid", "mamba"])
def test_the_program_reads_the_codes(name, bits, group):
    small, _ = quantise(made(name), bits, group=group)
    program, ids = Program.of(small, 5, 16), torch.randint(256, (5, 8))
    assert program is not None
    with torch.no_grad():
        whole = small(ids).logits
        for t in range(8):
            assert (program.step(ids[:, t]) - whole[:, t]).abs().max() < 1e-3 * max(1, float(whole.abs().max()))


def test_what_was_covered():
    model = made("llama")
    small, coverage = quantise(model, 4)
    matrices = {
        path for path, part in model.named_modules() if getattr(getattr(part, "spec", None), "kind", "") == "linear"
    }
    assert set(coverage.packed) == {*matrices, "stem"} and coverage.kept == ()
    assert coverage.share > 0.98 and coverage.after < coverage.before / 6.5
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in model.parameters() if p.dim() == 1)
    assert "matrices packed" in str(coverage) and f"{coverage.after:,}" in str(coverage)


def test_some_parts_are_kept():
    model = made("llama")
    small, coverage = quantise(model, 8, keep=("*.down", "stem"))
    assert {path.rpartition(".")[2] for path in coverage.kept} == {"down", "stem", "head"}
    assert small.stem.table.dtype == torch.float32 and small.head.table is small.stem.table
    assert not any(path.endswith(("down", "stem", "head")) for path in coverage.packed)
    with pytest.raises(UsageError, match="nothing to pack"):
        quantise(model, 8, keep=("*",))


def test_some_parts_take_more_bits():
    model = made("llama")
    small, coverage = quantise(model, 4, int8=("*.down", "head"))
    bits = {part.path: part.store.bits for part in small.parts() if hasattr(part, "store")}
    assert set(bits) == {*coverage.packed, "head"}
    assert all(many == (8 if path.endswith(("down", "head", "stem")) else 4) for path, many in bits.items())
    assert small.head.table is small.stem.table and small.head.store is small.stem.store
    with pytest.warns(DeprecationWarning, match="wide= is int8= now"):
        assert quantise(model, 4, wide=("*.down", "head"))[1] == coverage
    few, all_wide = (quantise(model, n)[1].after for n in (4, 8))
    assert few < coverage.after < all_wide
    with pytest.raises(UsageError, match=r"no part's path matches '\*.dwon'"):
        quantise(model, 4, int8=("*.dwon",))


def test_a_head_of_its_own_is_packed_too():
    model = made("llama", tied=False)
    small, coverage = quantise(model, 8)
    assert {"stem", "head"} <= set(coverage.packed) and small.head.table is not small.stem.table


def test_wrong_bits_are_named():
    with pytest.raises(UsageError, match="bits=3 must be 4 or 8"):
        quantise(made("llama"), 3)


def test_half_precision_stays_for_the_rest():
    small, _ = quantise(made("llama").bfloat16(), 8)
    with torch.no_grad():
        assert small(torch.randint(256, (1, 5))).logits.dtype == torch.bfloat16
    assert {t.dtype for t in stored(small).values()} == {torch.bfloat16, torch.uint8}


def test_a_packed_model_is_not_narrowed():
    small, _ = quantise(made("llama"), 8)
    with pytest.raises(UsageError, match="narrow the model it was made from"):
        by.take(small, "steps.0.part.kv", torch.tensor([0]))


def test_a_tied_table_is_kept_as_the_stems():
    assert by.build("llama", "tiny", **{"stem.store": "packed"}).head.store.spec.name == "packed"
    with pytest.raises(UsageError, match="kept as the stem's is"):
        by.build("llama", "tiny", **{"head.store": "packed"})
