"""Names that were given up are understood, in saved models, settings and edits; no number changes with a name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import blockyard as by
from blockyard.core import registry
from blockyard.core.spec import Spec

OLD = Path(__file__).parent / "old"  # models saved under the names of then, beside what they said to some tokens


@pytest.mark.filterwarnings("ignore:.* is called .* now")
@pytest.mark.parametrize("name", sorted(path.name for path in OLD.iterdir() if path.is_dir()))
def test_a_model_of_then_says_what_it_said(name, tmp_path):
    model, said = by.load(OLD / name), load_file(OLD / f"{name}.safetensors")
    again = by.load(model.save(tmp_path / "again"))
    for each in (model, again):
        with torch.no_grad():
            assert torch.allclose(each(said["tokens"]).logits.float(), said["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.* is called .* now")
@pytest.mark.parametrize("name", ["mamba", "mamba2", "gated_deltanet", "deltanet"])
def test_first_numbers_are_those_of_the_first_names(name):
    model = by.load(OLD / name)
    fresh = dict(by.build(model.spec, seed=7).named_parameters())
    assert all(torch.allclose(p, fresh[path], rtol=1e-6) for path, p in model.named_parameters())
    assert not {"log_rate", "step", "skip", "select", "widen"} & {word for path in fresh for word in path.split(".")}


@pytest.mark.parametrize("kind", ("mixer", "position"))
def test_what_was_renamed_is_there(kind):
    for name, entry in registry.entries(kind).items():
        if entry.load_named().around and not entry.load_named().renamed:
            continue  # it does not stand alone
        part = by.make(f"{kind}:{name}", dim=64)
        for old, new in part.renamed.items():
            slot, _, inner = new.partition(".")
            if inner:  # a slot took it over
                slot, _, of = slot.partition(":")
                assert inner in registry.find(str(entry.settings[slot].slot), of).arguments
                continue
            assert new in entry.arguments or hasattr(part, new), f"{kind}:{name} has no {new}"
            assert old not in entry.arguments and not hasattr(part, old), f"{kind}:{name} still has {old}"


def test_a_setting_of_then_is_understood_with_a_line():
    now = by.spec("gated_deltanet", "tiny", **{"mixer.beta_max": 2.0})
    for old in ({"mixer.reach": 2}, {"reach": 2.0}):
        with pytest.warns(UserWarning, match="reach is called beta_max now"):
            assert by.spec("gated_deltanet", "tiny", **old) == now
    with pytest.warns(UserWarning, match="mixer:deltanet: the setting reach is called beta_max now"):
        assert by.make("mixer:deltanet", dim=8, heads=2, reach=1.5).beta_max == 1.5
    with pytest.warns(UserWarning, match="linear:packed is called linear:dense with store=packed now"):
        assert by.build("llama", "tiny", **{"model.linear": "packed"}).steps[0].part.out.store.bits == 8
    edited = by.spec("mamba", "tiny").at("steps.*.part.select", spec=Spec("linear", "low_rank"))
    assert by.build(edited).steps[0].part.x_proj.spec.name == "low_rank"
    with pytest.raises(by.UsageError, match="unknown setting of mixer:mamba 'step'"):
        by.make("mixer:mamba", dim=8, step=1.0)
