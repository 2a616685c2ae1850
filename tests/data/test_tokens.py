"""Codecs: lossless, additive in bytes, deterministic, saved in a form that the tokenizers library reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from blockyard.core.errors import UsageError
from blockyard.data.tokens import Bpe, Bytes, load_codec

SAMPLE = ["the cat sat on the mat, naïve and quiet.\n" * 20, "def f(x):\n    return x\n" * 20, "日本語の🙂 " * 20]
BPE = Bpe.train([s.encode() for s in SAMPLE], 400)
CODECS = pytest.mark.parametrize("codec", [Bytes(), BPE], ids=["bytes", "bpe"])


@CODECS
@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=200))
def test_round_trip_and_byte_lengths(codec, text):
    ids = codec.encode(text)
    assert codec.decode(ids) == text
    assert int(codec.token_bytes[ids].sum()) == len(text.encode())
    assert ids.dtype == codec.dtype and len(codec.token_bytes) == codec.vocab


@CODECS
def test_a_long_text_is_encoded_in_pieces_without_loss(codec, words):
    text = words(200_000) + "x" * 100_000
    assert codec.decode(codec.encode(text)) == text


@CODECS
def test_saved_and_loaded_it_is_the_same_codec(codec, tmp_path):
    codec.save(tmp_path / "tokenizer.json")
    again = load_codec(tmp_path / "tokenizer.json")
    text = "The naïve 日本 🙂\n\tcat\x00\x7f"
    assert type(again) is type(codec) and again.hash == codec.hash and again.vocab == codec.vocab
    assert again.encode(text).tolist() == codec.encode(text).tolist()
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == codec.encode(text).tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


@CODECS
def test_half_a_character_decodes_to_a_replacement(codec):
    assert codec.decode(codec.encode("🙂")[:1]) == "\ufffd" or codec.token_bytes[codec.encode("🙂")[0]] == 4
    with pytest.raises(UsageError, match="character 1"):
        codec.encode("a\udc80")


def test_bpe_is_deterministic_compresses_and_has_the_size_asked():
    again = Bpe.train([s.encode() for s in SAMPLE], 400)
    assert again.to_json() == BPE.to_json() and BPE.vocab <= 400 and BPE.dtype == np.dtype("<u2")
    assert len(BPE.encode(SAMPLE[0])) < len(SAMPLE[0].encode()) / 2


def test_foreign_and_broken_tokenizers_are_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    foreign = BPE.to_json().replace(b'"add_prefix_space":false', b'"add_prefix_space":true', 1)
    assert foreign != BPE.to_json()
    for content in (b"", b"{}", b"[]", b"\xff", BPE.to_json()[:-5], foreign):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot be used: "):
            load_codec(path)
    with pytest.raises(UsageError, match="cannot read"):
        load_codec(tmp_path / "none.json")


def of_another_library(**changes):
    """A byte-level tokenizer as others write them: a token of its own, rules that cut first, a processor behind."""
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=changes.get("prefix", False))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    made.normalizer, made.decoder = changes.get("normalizer"), decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<|end|>"], vocab_size=300, initial_alphabet=letters)
    made.train_from_iterator(SAMPLE, trainer)
    return made


@pytest.mark.parametrize("text", [*SAMPLE[:4], "a<|end|> b 123", ""])
def test_a_byte_level_tokenizer_of_another_library_serves(text, tmp_path):
    theirs = of_another_library()
    theirs.save(str(tmp_path / "t.json"))
    codec = load_codec(tmp_path / "t.json")
    ids = codec.encode(text)
    assert ids.tolist() == theirs.encode(text, add_special_tokens=False).ids
    assert codec.decode(ids) == text and codec.token_bytes[ids].sum() == len(text.encode())
    assert codec.decode([codec.vocab + 3]) == ""  # a model may have spare ids


def test_why_a_tokenizer_cannot_be_used_is_said(tmp_path):
    from tokenizers import models, normalizers, pre_tokenizers

    path = tmp_path / "t.json"
    of_another_library(prefix=True).save(str(path))
    with pytest.raises(UsageError, match="a space before every text"):
        load_codec(path)
    Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(str(path))
    with pytest.raises(UsageError, match="its model is WordPiece"):
        load_codec(path)
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.save(str(path))
    with pytest.raises(UsageError, match="SentencePiece"):
        load_codec(path)
    of_another_library(normalizer=normalizers.NFC()).save(str(path))
    codec = load_codec(path)
    assert codec.decode(codec.encode("caf\u00e9")) == "caf\u00e9"
    with pytest.raises(UsageError, match="changes this text"):
        codec.encode("cafe\u0301")
