"""A trained model that reads in fewer bits what is older: the one that is built so, with the same numbers."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import pattern, transform
from blockyard.transform._base import make_transform

IDS = torch.randint(0, 256, (2, 20), generator=torch.Generator().manual_seed(0))


def aged(model, **settings):
    return make_transform(transform("age_bits", **settings)).apply(model)


@torch.no_grad()
def test_it_is_the_model_that_is_built_so_with_the_same_numbers():
    model = by.build("llama", "tiny").double()
    done = aged(model, ages=(3, 6), bits=(8, 2))
    built = by.build("llama", "tiny", **{"mixer.pattern": pattern("age_bits", ages=(3, 6), bits=(8, 2))}).double()
    built.load_state_dict(model.state_dict())
    assert torch.equal(done.model(IDS).logits, built(IDS).logits)
    assert (done.model(IDS).logits - model(IDS).logits).abs().max() > 1e-4
    assert torch.allclose(done.model(IDS[:, :3]).logits, model(IDS[:, :3]).logits, atol=1e-12)
    assert done.covered["steps.0.part"] == "8 bits from 3 tokens on, 2 bits from 6 tokens on"
    held = [made(IDS, made.init_state(2)).state.nbytes for made in (done.model, model)]
    assert held[0] < 0.4 * held[1]


def test_only_some_attention_and_what_is_refused():
    done = aged(by.build("llama", "tiny"), on=("steps.2.*",)).model
    assert done.steps[0].part.pattern is None and done.steps[2].part.pattern.ages == (64, 256, 1024)
    with pytest.raises(by.UsageError, match=r"steps\.2\.part has a pattern already, age_bits"):
        aged(done)
    with pytest.raises(by.UsageError, match="no attention stands at head"):
        aged(by.build("llama", "tiny"), on=("head",))
    with pytest.raises(by.UsageError, match="no attention"):
        aged(by.build("mamba", "tiny"))
    for ages, bits in (((8, 4), (8, 4)), ((4, 8), (4, 8)), ((4,), (8, 4)), ((4, 4), (8, 4))):
        with pytest.raises(by.UsageError, match="must rise, and bits"):
            aged(by.build("llama", "tiny"), ages=ages, bits=bits)
