"""generate, eval and quantise on a folder that transformers saved."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from blockyard.cli import main

TEXT = "the cat sat on the mat. " * 60


@pytest.fixture
def folder(oracle):
    """A small GPT-2 with a tokenizer of its own."""
    place, _, _ = oracle("GPT2", n_positions=64, n_embd=16, n_layer=1, n_head=2, vocab_size=320)
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=letters)
    words.train_from_iterator([TEXT], trainer)
    words.save(str(place / "tokenizer.json"))
    return place


def test_the_verbs_work_on_it(folder, tmp_path, capsys):
    (tmp_path / "x.txt").write_text(TEXT)
    small = str(tmp_path / "small")
    assert main(["quantise", str(folder), "--out", small]) == 0
    capsys.readouterr()
    for place in (str(folder), small):
        assert main(["generate", place, "--prompt", "the cat", "--tokens", "5", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["tokens"]) == 5
        assert main(["eval", place, "--data", str(tmp_path / "x.txt"), "--length", "16", "--json"]) == 0
        scored = json.loads(capsys.readouterr().out)
        # an untrained model pays log2(320) bits a token, of which there are fewer than bytes
        assert 0 < scored["bits_per_byte"] < 9


def test_the_true_reason_is_said(folder, tmp_path, capsys):
    (folder / "tokenizer.json").write_bytes(b"{]x")
    assert main(["generate", str(folder)]) == 2
    assert "it is not JSON" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="for other libraries.*not JSON"):
        assert main(["quantise", str(folder), "--out", str(tmp_path / "small")]) == 0
    assert (tmp_path / "small" / "tokenizer.json").read_bytes() == b"{]x"
    (folder / "tokenizer.json").unlink()
    assert main(["eval", str(folder)]) == 2
    assert "has no tokenizer.json" in capsys.readouterr().err
