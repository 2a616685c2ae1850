"""What is attached to a model in a folder of its own: it is small, comes back, and goes onto its own backbone alone."""

import json

import pytest
import torch

import blockyard as by
from blockyard.model.attach import attached, attachments, place
from blockyard.transform._base import make_transform

F64, IDS = torch.float64, torch.arange(24).view(2, 12) * 7 % 256


def shaken(made, seed=1):
    """Every number away from where it starts."""
    draw = torch.Generator().manual_seed(seed)
    for p in made.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=draw)
    return made


def llama():
    return shaken(by.build("llama", "tiny"))


def grown(made, *what):
    """The model with things attached, none of which still says nothing."""
    held = dict(made.named_parameters())
    for each in what:
        made = make_transform(each).apply(made).model
    own = attachments(shaken(made, 2))
    for name, p in made.named_parameters():
        if (came := place(name, own)) is not None:
            p.data.copy_(held[came])
    return made


def test_saved_alone_it_is_small_and_comes_back(tmp_path):
    made = llama()
    both = grown(made, "lora:rank=2", "adaptformer:inner=4", "lora:rank=3,on=*.qkv")
    by.save_attachment(both, tmp_path / "a")
    again = by.load_attachment(made, tmp_path / "a")
    assert torch.equal(again(IDS).logits, both(IDS).logits) and not attachments(made)
    assert again.state_dict().keys() == both.state_dict().keys()
    both.save(tmp_path / "whole")
    alone, whole = (sum(f.stat().st_size for f in (tmp_path / name).iterdir()) for name in ("a", "whole"))
    own = 4 * sum(both.state_dict()[name].numel() for name in attached(both))
    assert alone < own + 8000 and alone < whole / 3
    by.save_attachment(grown(made, "lora:rank=1"), tmp_path / "a")  # in place of the other
    assert len(attachments(by.load_attachment(made, tmp_path / "a"))) == 8
    wide = by.load_attachment(llama().double(), tmp_path / "a")
    assert next(wide.parameters()).dtype == F64 and wide.steps[0].part.qkv.down.dtype == F64


def test_the_head_may_be_another_and_the_rest_may_not(tmp_path):
    made = shaken(by.build("vit", "tiny"))
    by.save_attachment(grown(made, "adaptformer:inner=4"), tmp_path / "a")
    fresh = by.build("vit", "tiny", classes=3)
    for name, p in fresh.named_parameters():
        if not name.startswith("head."):
            p.data.copy_(dict(made.named_parameters())[name])
    assert by.load_attachment(fresh, tmp_path / "a").steps[1].part.branch.down.shape == (4, 32)
    with pytest.raises(by.UsageError, match="was attached to a model of other numbers"):
        by.load_attachment(by.build("vit", "tiny"), tmp_path / "a")
    for other in (by.build("vit", "tiny", ffn=40), by.build("llama", "tiny"), by.build("vit", "tiny", patch=4)):
        with pytest.raises(by.UsageError, match="was attached to a model of another shape"):
            by.load_attachment(other, tmp_path / "a")


def test_what_is_no_attachment_is_refused(tmp_path):
    made = llama()
    with pytest.raises(by.UsageError, match="nothing is attached to this model"):
        by.save_attachment(made, tmp_path / "a")
    both = grown(made, "lora:rank=1")
    by.save_attachment(both, tmp_path / "a")
    with pytest.raises(by.UsageError, match="detach what there is first"):
        by.load_attachment(both, tmp_path / "a")
    with pytest.raises(by.UsageError, match="holds no attachment"):
        by.load_attachment(made, tmp_path / "none")
    made.save(tmp_path / "m")
    with pytest.raises(by.UsageError, match="holds no attachment of ours"):
        by.save_attachment(both, tmp_path / "m")
    with pytest.raises(by.UsageError, match="holds no model"):
        by.load(tmp_path / "a")
    index = tmp_path / "a" / "attachment.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"attached": []}))
    with pytest.raises(by.UsageError, match="damaged or was edited"):
        by.load_attachment(made, tmp_path / "a")
