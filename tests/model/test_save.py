"""Saved models: the same numbers back, ties kept, and damage named."""

import json

import pytest
import torch

import blockyard as by
from blockyard.core.errors import UsageError
from blockyard.model import save
from blockyard.model.save import load_model, save_model

X = torch.arange(24).reshape(2, 12) * 7 % 256


@torch.no_grad()
@pytest.mark.parametrize("name", by.recipes())
def test_round_trip(name, tmp_path):
    model = by.build(name, "tiny", seed=3)
    save_model(model, tmp_path / "m")
    twin = load_model(tmp_path / "m")
    assert torch.equal(model(X).logits, twin(X).logits)
    assert twin.spec == model.spec
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in model.parameters())


def test_shards_and_replacing(tmp_path, monkeypatch):
    monkeypatch.setattr(save, "SHARD_BYTES", 20_000)
    model = by.build("llama", "tiny")
    save_model(model, tmp_path / "m")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 2
    save_model(model, tmp_path / "m")
    assert torch.equal(load_model(tmp_path / "m")(X).logits, model(X).logits)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def spoil(folder, how):
    shard = next(folder.glob("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    if how == "missing":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(shard.read_bytes()[:-50])
    elif how == "tampered":
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
    elif how == "not json":
        (folder / "config.json").write_text("{")
    elif how == "newer":
        (folder / "config.json").write_text(json.dumps(config | {"format": 99}))
    elif how == "no config":
        (folder / "config.json").unlink()


@pytest.mark.parametrize(
    "how,says",
    [
        ("missing", "missing"), ("truncated", "checksum"), ("tampered", "checksum"), ("not json", "damaged"),
        ("newer", "format 99"), ("no config", "holds no model"),
    ],
)  # fmt: skip
def test_damage_is_named(how, says, tmp_path):
    save_model(by.build("llama", "tiny"), tmp_path / "m")
    spoil(tmp_path / "m", how)
    with pytest.raises(UsageError, match=says):
        load_model(tmp_path / "m")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        save_model(by.build("llama", "tiny"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
