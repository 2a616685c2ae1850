"""`generate` and `eval` from the command line: what does not combine, and models that are damaged."""

import json
import math
import os
from copy import deepcopy

import pytest
import torch
from decode_cases import tiny

import blockyard
from blockyard.cli import main
from blockyard.data.tokens import Bytes


@pytest.fixture
def folder(tmp_path):
    return str(tiny("gla", seed=40).float().save(tmp_path / "model", tokenizer=Bytes().to_json()) or tmp_path / "model")


@pytest.mark.parametrize("option", [
    ["--stop", "x"], ["--temperature", "0.8"], ["--seed", "0"], ["--num-speculative", "3"], ["--top-k", "4"],
    ["--int8-cache"], ["--top-p", "1"], ["--min-p", "0"], ["--repetition-penalty", "1"],
])  # fmt: skip
def test_a_search_passes_over_no_option(folder, option, capsys):
    assert main(["generate", folder, "--tokens", "3", "--beams", "2", *option]) == 2
    said = capsys.readouterr()
    assert option[0] in said.err and said.err.count("\n") == 1 and not said.out


def test_a_search_by_itself(folder, capsys):
    assert main(["generate", folder, "--tokens", "3", "--beams", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["beams"]) == 2
    for width in ("0", "-1", str(10**22)):
        assert main(["generate", folder, "--tokens", "3", "--beams", width]) == 2


def test_the_defaults_are_those_of_the_help(folder, capsys):
    texts = []
    for options in ([], ["--temperature", "0.8", "--seed", "0", "--top-p", "1", "--repetition", "1"], ["--seed", "1"]):
        assert main(["generate", folder, "--tokens", "30", *options]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_damaged_weights_give_no_text_and_no_score(tmp_path, capsys):
    model, text = deepcopy(tiny("gla")), tmp_path / "text.txt"
    model.head.norm.gain.data[0] = float("nan")
    model.float().save(tmp_path / "model", tokenizer=Bytes().to_json())
    text.write_text("".join(f"line {i} of a text\n" for i in range(400)))
    for call in (["generate"], ["generate", "--beams", "2"], ["eval", "--data", str(text)]):
        assert main([call[0], str(tmp_path / "model"), *call[1:], "--json"]) == 2
        said = capsys.readouterr()
        assert "damaged" in said.err and not said.out


def test_what_is_no_number_is_null(monkeypatch, capsys):
    found = {"a": float("nan"), "b": [float("inf"), 1.5, (-float("inf"), None)], "c": "NaN"}
    monkeypatch.setattr("blockyard.cli.list.run", lambda options: (found, ""))
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "a": None, "b": [None, 1.5, [None, None]], "c": "NaN"}  # fmt: skip


@pytest.mark.parametrize("stop", [b"\xff", b"end \xc3("])
def test_a_stop_that_no_text_can_hold_is_refused(folder, stop, capsys):
    assert main(["generate", folder, "--tokens", "3", "--stop", os.fsdecode(stop)]) == 2
    said = capsys.readouterr()
    assert "not valid Unicode" in said.err and not said.out


@pytest.mark.parametrize("text", ["a few words\n", "é" * 40, "ab"])
def test_a_short_text_is_scored_whole(folder, text, tmp_path, capsys):
    (tmp_path / "short.txt").write_text(text, encoding="utf-8")
    assert main(["eval", folder, "--data", str(tmp_path / "short.txt"), "--json"]) == 0
    found, model = json.loads(capsys.readouterr().out), blockyard.load(folder)
    ids = torch.tensor([list(text.encode())])
    with torch.no_grad():
        logp = model(ids).logits[0, :-1].log_softmax(-1)
    assert found["bytes"] == len(ids[0]) - 1
    nats = -logp[range(len(logp)), ids[0, 1:]].sum()
    assert found["bits_per_byte"] == pytest.approx(float(nats) / math.log(2) / found["bytes"], rel=1e-5)


def test_old_names_of_options_are_understood_and_told(capsys):
    for old, new in (("--ahead", "--num-speculative"), ("--repetition", "--repetition-penalty")):
        for words in ([old, "2"], [f"{old}=2"]):
            assert main(["generate", "/nowhere", *words]) == 2
            first, second = capsys.readouterr().err.splitlines()
            assert first == f"blockyard: {old} is called {new} now" and "/nowhere" in second
    assert main(["generate", "/nowhere", "--num-spec", "2"]) == 2 and "--num-spec" in capsys.readouterr().err
