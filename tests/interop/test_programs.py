"""A forward that leaves as a program gives the scores of the model, and says what it cannot be."""

import json

import pytest
import torch

import blockyard as by
from blockyard import UsageError
from blockyard.cli import main
from blockyard.core.errors import WorkFailed
from blockyard.interop import program
from blockyard.interop.out import torch as form


def ids(rows, length):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(3))


def scores(file, rows):
    return torch.export.load(file).module()(rows)


@pytest.mark.slow  # torch.export takes many seconds, whatever the model
@torch.no_grad()
@pytest.mark.parametrize(("name", "length"), [("llama", "any"), ("gpt2", "up to 256")])
def test_a_program_of_any_length(name, length, tmp_path):
    model, file = by.build(name, size="tiny").eval(), tmp_path / "x.pt2"
    assert by.export(model, to="torch", out=file).told["length"] == length
    run = torch.export.load(file).module()
    for rows, length in [(1, 40), (5, 3), (2, 200)]:
        text = ids(rows, length)
        assert (run(text) - model(text).logits).abs().max() <= 1e-4


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["gla", "mamba2", "olmo_hybrid"])
def test_a_recurrence_is_a_program_of_one_length(name, tmp_path):
    model, file = by.build(name, size="tiny").eval(), tmp_path / "x.pt2"
    by.export(model, to="torch:16", out=file)
    text = ids(3, 16)
    assert (scores(file, text) - model(text).logits).abs().max() <= 1e-4


@pytest.mark.slow
def test_what_varies_in_no_way_is_refused_with_the_mend(tmp_path):
    with pytest.raises(UsageError, match="torch:128"):
        by.export(by.build("gla", size="tiny"), to="torch", out=tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@torch.no_grad()
def test_an_onnx_file_of_any_length(tmp_path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    runtime = pytest.importorskip("onnxruntime")
    model, file = by.build("llama", size="tiny").eval(), tmp_path / "x.onnx"
    assert by.export(model, to="onnx", out=file).told["length"] == "any"
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for rows, length in [(1, 40), (5, 3)]:
        text = ids(rows, length)
        found = torch.from_numpy(session.run(["logits"], {"ids": text.numpy()})[0])
        assert (found - model(text).logits).abs().max() <= 1e-4


@pytest.mark.parametrize("wrong", [
    lambda x: x + 1e-3, lambda x: x * float("nan"), lambda x: x[:, :-1],
], ids=["off", "nan", "short"])  # fmt: skip
def test_a_program_that_says_something_else_is_not_written(wrong, tmp_path, monkeypatch):
    model = by.build("llama", size="tiny").eval()

    class Wrong(torch.nn.Module):
        def forward(self, text):
            return wrong(model(text).logits)

    monkeypatch.setattr(form, "traced", lambda *_: None)
    monkeypatch.setattr(form, "longest", lambda _: None)
    monkeypatch.setattr(torch.export, "save", lambda *_: None)
    monkeypatch.setattr(torch.export, "load", lambda _: type("Program", (), {"module": lambda self: Wrong()})())
    with pytest.raises(WorkFailed, match="not written"):
        by.export(model, to="torch", out=tmp_path / "x.pt2")
    assert not list(tmp_path.iterdir())


def test_a_part_that_cannot_be_traced_is_named(tmp_path, monkeypatch):
    def fails(*_, **__):
        return by.build("gla", size="tiny").steps[0].rule.norm(torch.zeros(1, 3, 5))

    monkeypatch.setattr(torch.export, "export", fails)
    with pytest.raises(UsageError, match="norm:rms cannot become part of a program"):
        program.traced(by.build("gla", size="tiny"), "torch", None)


def test_mistakes_on_the_command_line(tmp_path, capsys):
    model = tmp_path / "model"
    by.build("llama", size="tiny").save(model)
    (tmp_path / "short").write_bytes(b"abc")
    taken = tmp_path / "taken.pt2"
    taken.write_bytes(b"abc")
    for words, why in [
        ([str(model), "--to", "torhc", "--out", str(tmp_path / "x")], "torch"),
        ([str(model), "--to", "ggfu", "--out", str(tmp_path / "x")], "gguf"),
        ([str(model), "--to", "torch:many", "--out", str(tmp_path / "x")], "torch:128"),
        ([str(model), "--to", "torch:0", "--out", str(tmp_path / "x")], "torch:128"),
        ([str(model), "--to", "torch", "--out", str(taken)], "there already"),
        ([str(tmp_path / "short"), "--to", "torch", "--out", str(tmp_path / "x")], "short"),
        ([str(tmp_path / "none"), "--to", "torch", "--out", str(tmp_path / "x")], "no such file or folder"),
        ([str(model), "--to", "transformers:mistrall", "--out", str(tmp_path / "x")], "mistral"),
        ([str(model), "--to", "transformers:gpt2", "--out", str(tmp_path / "x")], "no gpt2"),
    ]:
        assert main(["export", *words]) == 2, words
        told = capsys.readouterr().err
        assert why in told and len(told.splitlines()) <= 2, told
    assert taken.read_bytes() == b"abc" and sorted(path.name for path in tmp_path.iterdir()) == [
        "model", "short", "taken.pt2",
    ]  # fmt: skip


def test_the_verb_writes_a_folder_with_what_lay_beside(tmp_path, capsys):
    pytest.importorskip("tokenizers")
    from blockyard.data.tokens import Bytes

    model, out = by.build("llama", size="tiny"), tmp_path / "out"
    model.save(tmp_path / "model", tokenizer=Bytes().to_json())
    assert main(["export", str(tmp_path / "model"), "--to", "transformers", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"form": "transformers", "out": str(out), "model_type": "llama"}
    assert (out / "tokenizer.json").read_bytes() == Bytes().to_json()
    assert main(["eval", str(out), "--data", __file__, "--length", "16", "--json"]) == 0
