"""Codecs: lossless, additive in bytes, deterministic, saved in a form that the tokenizers library reads."""

import json

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


def test_one_that_does_not_spell_every_byte_is_none_of_ours(tmp_path):
    """Whatever may change a text, or stands for more than its bytes: such a one is read by what knows of it."""
    path, said = tmp_path / "t.json", json.loads(BPE.to_json())
    without = {token: i for token, i in said["model"]["vocab"].items() if token != "a"}
    for change in (
        {"normalizer": {"type": "NFC"}}, {"added_tokens": [{"id": 400, "content": "<x>"}]}, {"pre_tokenizer": None},
        {"post_processor": {"type": "ByteLevel"}}, {"model": {**said["model"], "end_of_word_suffix": "</w>"}},
        {"model": {**said["model"], "vocab": without}}, {"model": {**said["model"], "type": "WordPiece"}},
        {"truncation": {"max_length": 5}}, {"model": {**said["model"], "dropout": 0.5}},
    ):  # fmt: skip
        path.write_text(json.dumps(said | change))
        with pytest.raises(UsageError, match="do not spell a text byte by byte"):
            load_codec(path)
