"""Narrowing any axis of any recipe gives a model that its spec rebuilds; permuting a free axis changes nothing."""

import pytest
import torch

import blockyard as by
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.model.save import load_model, save_model
from blockyard.transform.take import take
from tests.asked import batch, equal, gap

RECIPES = by.recipes()
X = torch.arange(24).reshape(2, 12) * 7 % 32


def tiny(name):
    known = registry.find("recipe", name).schema
    extra = dict(kv_heads=1, heads=2) if "kv_heads" in known and "stripes" not in known else {}
    model = by.build(name, "tiny", **extra).double()
    draw = torch.Generator().manual_seed(5)
    for p in model.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", RECIPES)
def test_every_axis_can_be_narrowed_saved_and_loaded(name, tmp_path):
    model = tiny(name)
    for axis, known in model.axes.items():
        if known.size < 2 or (not axis.startswith(("stem", "steps.0", "steps.1", "head")) and axis != "stream"):
            continue
        keep = torch.arange((known.size - 1) // known.multiple * known.multiple)
        if known.fixed:
            with pytest.raises(UsageError, match=known.fixed):
                take(model, axis, keep)
            continue
        narrow, lineage = take(model, axis, keep)
        assert lineage and sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in model.parameters())
        save_model(narrow, tmp_path / axis)
        again, x = load_model(tmp_path / axis), batch(narrow, 2, 12)
        assert equal(again(x), narrow(x)), axis
        assert again.axes[axis].size == len(keep)


@torch.no_grad()
@pytest.mark.parametrize("name", RECIPES)
def test_permuting_a_free_axis_changes_nothing(name):
    model = tiny(name)
    x = batch(model, 2, 12)
    before = model(x)
    for axis, known in model.axes.items():
        if known.ordered or known.fixed:
            continue
        mixed = torch.randperm(known.size, generator=torch.Generator().manual_seed(1))
        assert gap(take(model, axis, mixed)[0](x), before) < 1e-9, axis


@torch.no_grad()
def test_taking_a_group_of_heads_removes_just_what_it_wrote():
    model = by.build("llama", dim=32, layers=1, heads=4, kv_heads=2).double()
    narrow, lineage = take(model, "steps.0.part.kv", torch.tensor([1]))

    def silence(context):
        return torch.cat([torch.zeros_like(context[..., :16]), context[..., 16:]], -1)

    silent = model(X, points={"steps.0.part:context": silence}).logits
    assert (narrow(X).logits - silent).abs().max() < 1e-12
    assert set(lineage) == {"steps.0.part.qkv.weight", "steps.0.part.out.weight"}


def test_what_cannot_be_taken_is_named():
    model = by.build("llama", "tiny")
    with pytest.raises(UsageError, match=r"steps\.0\.part\.kv"):
        take(model, "steps.0.part.k", torch.tensor([0]))
    with pytest.raises(UsageError, match="keep at least one"):
        take(model, "steps.0.part.kv", torch.tensor([7]))
    with pytest.raises(UsageError, match="must stay a multiple of 2"):
        take(model, "steps.0.part.head_dim", torch.tensor([0, 1, 2]))
    with pytest.raises(UsageError, match="share their bounds"):
        take(by.build("hgrn2", "tiny"), "steps.0.part.key_dim", torch.tensor([0]))
