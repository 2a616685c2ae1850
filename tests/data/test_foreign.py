"""Tokenizers of other libraries: the ids are theirs, the bytes of a text are shared out, what is lost is told."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers_of_others import KINDS, TEXTS, gpt2, llama2, llama3, qwen, save, sentencepiece, strings, wordpiece

from blockyard.core.errors import UsageError
from blockyard.data import load_text
from blockyard.data.foreign import MOST, Foreign
from blockyard.data.tokenizer_json import TokenizerJson
from blockyard.data.tokens import Bpe
from blockyard.interop.tokenizer import tokenizer

EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def codec_of(kind):
    return Foreign(TokenizerJson(kind()[0].to_str().encode()))


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    return transformers.PreTrainedTokenizerFast


@EACH
def test_ids_and_texts_are_those_of_transformers(kind, theirs, tmp_path):
    save(kind, tmp_path, clean_up_tokenization_spaces=False)
    ours, other = tokenizer(tmp_path), theirs.from_pretrained(tmp_path)
    for text in strings():
        for whole in (True, False):
            ids = ours.encode(text, whole=whole)
            assert ids == other(text, add_special_tokens=whole).input_ids, text
            assert ours.decode(ids) == other.decode(ids, skip_special_tokens=False), text
        assert [*ours.prompt(text), *ours.codec.after] == ours.encode(text)
    assert ours.vocab == max(other.get_vocab().values()) + 1
    assert ours.decode([ours.vocab + 3]) == ""  # a model may have spare ids
    assert dict(ours.special) == other.special_tokens_map


def test_tokens_that_stand_in_the_config_alone(theirs, tmp_path):
    """Ids, flags and names that tokenizer.json does not have, in each of the forms that a folder says them in."""
    made = save(llama2, tmp_path)
    size = made.get_vocab_size()
    token = {"content": "<tool>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
    unk = {"content": "<unk>", "special": True}
    forms = [
        {"added_tokens_decoder": {str(size): {**token, "special": False}, "0": unk}, "pad_token": "<pad>"},
        {"extra_special_tokens": ["<tool>", "<other>"]},
        {"additional_special_tokens": [{**token, "__type": "AddedToken"}], "image_token": "<image>"},
        {"extra_special_tokens": {"audio_token": "<tool>"}, "split_special_tokens": True},
    ]
    plain = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for form in forms:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(plain | form))
        ours, other = tokenizer(tmp_path), theirs.from_pretrained(tmp_path)
        for text in ("a <tool> b", "a<tool>", "<pad> x <other>", "<image></s> y", "<s> the"):
            assert ours.encode(text) == other(text).input_ids, (form, text)
        assert ours.vocab == max(other.get_vocab().values()) + 1 and dict(ours.special) == other.special_tokens_map


def test_the_older_files_are_read(theirs, tmp_path):
    made = save(llama2, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    special = {"bos_token": {"content": "<s>"}, "pad_token": "<tool>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<tool>": made.get_vocab_size()}))
    ours, other = tokenizer(tmp_path), theirs.from_pretrained(tmp_path)
    for text in ("a <tool> b", "</s>"):
        assert ours.encode(text) == other(text).input_ids
    assert dict(ours.special) == other.special_tokens_map == {"bos_token": "<s>", "pad_token": "<tool>"}


@EACH
def test_the_bytes_of_a_text_are_shared_out(kind):
    codec = codec_of(kind)
    texts = [text for text in strings() if codec.encode(text).size]
    for text, read in zip(texts, codec.read_each(text.encode() for text in texts)):
        assert int(read.sizes.sum()) == len(text.encode()) and len(read.sizes) == len(read.ids)
        assert read.ids.tolist() == [*codec.before, *codec.encode(text)] and not read.sizes[: len(codec.before)].any()
        assert read.altered == (codec.decode(codec.encode(text)) != text)


CODECS = [codec_of(kind) for kind in (llama3, llama2)]


@pytest.mark.parametrize("codec", CODECS, ids=["byte level", "byte fallback"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60).filter(bool))
def test_where_each_token_ends(codec, text):
    """Token by token the bytes are those that decoding adds, wherever a token is one of whole characters."""
    (read,) = codec.read_each([text.encode()])
    ids, sizes = read.ids.tolist()[1:], read.sizes.tolist()[1:]
    assert read.sizes[0] == 0 and sum(sizes) == len(text.encode())
    for end in range(1, len(ids) + 1):
        so_far = codec.decode(ids[:end])
        if text.startswith(so_far) and "\ufffd" not in so_far and so_far.strip("▁ "):
            assert sum(sizes[:end]) == len(so_far.encode())


def test_a_long_text_is_read_in_pieces(monkeypatch):
    monkeypatch.setattr("blockyard.data.foreign.MOST", 1000)
    monkeypatch.setattr("blockyard.data.foreign.AT_ONCE", 5000)
    codec, texts = codec_of(llama3), [TEXTS[0] * 9, TEXTS[2], "x" * 2500, ""]
    for text, read in zip(texts, codec.read_each(t.encode() for t in texts), strict=True):
        assert int(read.sizes.sum()) == len(text.encode()) and not read.altered
        assert codec.decode(read.ids[1:]) == text and read.ids[0] == codec.before[0]
    assert MOST > 1000


def test_what_is_lost_is_told():
    lossless, lossy = codec_of(llama2), codec_of(wordpiece)
    texts = ["the cat 🙂 日本語", "a quiet mat", "Upper"]
    assert not lossless.remarks(list(lossless.read_each(t.encode() for t in texts)))
    read = list(lossy.read_each(t.encode() for t in texts))
    unknown, altered = lossy.remarks(read)
    count = sum(np.count_nonzero(each.ids == 1) for each in read)
    assert unknown.startswith(f"{count} of ") and "flatters" in unknown and count > 0
    assert "changes 2 of 3 documents" in altered


def test_a_corpus_remembers_all_of_it(tmp_path):
    """What the shards of the cache hold is what was read: ids, bytes, what stands in front, remarks."""
    content = wordpiece()[0].to_str().encode()
    codec = Foreign(TokenizerJson(content))
    (tmp_path / "t.txt").write_text("".join(f"line {i} of a text with ☃ in it\n" for i in range(300)))
    first = load_text(tmp_path / "t.txt", codec=codec, cache=tmp_path / "cache")
    again = load_text(tmp_path / "t.txt", codec=Foreign(TokenizerJson(content)), cache=tmp_path / "cache")
    for one, other in ((first.test, again.test), (first.train, again.train)):
        assert one.spelt().tolist() == other.spelt().tolist() and one.spelt().sum() == one.bytes == other.bytes
        assert one.tokens.tolist() == other.tokens.tolist() and one.notes == other.notes and len(one.notes) == 2
        starts = np.flatnonzero(~other.asked()).tolist()
        assert starts == other.offsets[:-1].tolist() and (other.tokens[starts] == 2).all()
    assert list((tmp_path / "cache").rglob("test.sizes.bin"))


def test_what_a_file_asks_for_and_a_text_does_not_bear(tmp_path):
    """Dropout would make the ids another every time; truncation and padding, another number of them."""
    made, _ = gpt2()
    plain = Foreign(TokenizerJson(made.to_str().encode())).encode(TEXTS[0])
    made.enable_truncation(5)
    made.enable_padding(length=4000)
    said = json.loads(made.to_str())
    said["model"]["dropout"] = 0.5
    assert Foreign(TokenizerJson(json.dumps(said).encode())).encode(TEXTS[0]).tolist() == plain.tolist()


def test_one_that_spells_every_byte_stays_exact(tmp_path):
    ours = Bpe.train([text.encode() for text in TEXTS], 300)
    ours.save(tmp_path / "tokenizer.json")
    assert type(tokenizer(tmp_path).codec) is Bpe
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    words = tokenizer(tmp_path)
    assert type(words.codec) is Foreign and words.encode("a<end>")[-1] == ours.vocab


BROKEN = {
    "three bytes": (b"\x00\x01{", "it is not JSON"), "empty": (b"", "it is not JSON"),
    "a pickle": (b"\x80\x04\x95", "is a pickle, which is never opened"),
    "a list": (b"[1]", "it has no model"), "no model": (b"{}", "it has no model"),
    "an unknown model": (b'{"version": "1.0", "model": {"type": "Odd"}}', "cannot be used"),
    "merges of nothing": (b'{"model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}', "vocabulary"),
    "no tokens": (b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "makes no tokens"),
}  # fmt: skip


@pytest.mark.parametrize("content, why", BROKEN.values(), ids=BROKEN)
def test_a_broken_tokenizer_is_told_in_a_line(content, why, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        tokenizer(tmp_path)
    assert why in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_text_that_a_tokenizer_cannot_read(tmp_path):
    """A model without the unknown token that it asks for."""
    (tmp_path / "tokenizer.json").write_text(
        '{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}}'
    )
    words = tokenizer(tmp_path)
    assert words.encode("a") == [0]
    with pytest.raises(UsageError, match=r"cannot read this text.*\[UNK\]"):
        words.encode("b")


CONFIGS = {
    "three bytes": ('{"a', "damaged"),
    "an id that another token has": ('{"added_tokens_decoder": {"7": {"content": "<new>"}}}', "'<new>' at "),
    "no ids": ('{"added_tokens_decoder": {"seven": {"content": "<new>"}}}', "does not map ids to tokens"),
    "no content": ('{"added_tokens_decoder": {"7": {"text": "<new>"}}}', "does not map ids to tokens"),
    "no list": ('{"added_tokens_decoder": ["<new>"]}', "does not map ids to tokens"),
    "no token": ('{"bos_token": {"text": "<s>"}}', "neither a text nor an object"),
    "a template that is none": ('{"chat_template": 7}', "chat_template is neither"),
    "templates without names": ('{"chat_template": [{"template": "x"}]}', "chat_template is neither"),
}


@pytest.mark.parametrize("content, why", CONFIGS.values(), ids=CONFIGS)
def test_a_broken_config_is_told_in_a_line(content, why, tmp_path):
    save(qwen, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        tokenizer(tmp_path)
    assert why in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_config_that_asks_for_another_beginning_is_told(tmp_path):
    save(qwen, tmp_path, bos_token="<|endoftext|>", add_bos_token=True)
    (note,) = tokenizer(tmp_path).notes
    assert "add_bos_token=True" in note and "does not put it" in note
    save(llama2, tmp_path)
    assert not tokenizer(tmp_path).notes


needs_sentencepiece = pytest.mark.skipif(not find_spec("sentencepiece"), reason="needs the extra sentencepiece")


@needs_sentencepiece
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_model_reads_as_its_library_does(kind, tmp_path):
    import sentencepiece as library

    content = sentencepiece(tmp_path, kind)
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true, "add_eos_token": true}')
    ours, plain = tokenizer(tmp_path), library.SentencePieceProcessor(model_proto=content)
    for text in strings():
        if "\x00" in text or "<s>" in text or "</s>" in text:  # the library spells control symbols out
            continue
        assert ours.encode(text) == [1, *plain.encode(text), 2], text
        assert ours.decode(plain.encode(text)) == plain.decode(plain.encode(text)), text
        (read,) = ours.codec.read_each([text.encode()])
        assert int(read.sizes.sum()) == len(text.encode()) and read.sizes[0] == 0
        assert read.altered == (plain.decode(plain.encode(text)) != text)
    assert not ours.notes and ours.vocab == plain.get_piece_size()


@needs_sentencepiece
def test_what_a_folder_adds_to_a_sentencepiece_model(tmp_path):
    sentencepiece(tmp_path)
    bare = tokenizer(tmp_path)
    assert "does not say add_bos_token" in bare.notes[0] and bare.codec.before == (1,) and bare.codec.after == ()
    size = bare.vocab
    added = {str(size): {"content": "<|im_start|>", "special": True}, "1": {"content": "<s>"}}
    said = {"added_tokens_decoder": added, "add_bos_token": False, "pad_token": "<pad>"}
    for legacy in (True, False):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**said, "legacy": legacy}))
        words = tokenizer(tmp_path)
        assert words.vocab == size + 2 and words.codec.before == () and words.encode("<pad>") == [size + 1]
        ids = words.encode("<s><|im_start|>user the<|im_start|>")
        assert ids[:2] == [1, size] and ids[-1] == size
        # a stretch behind an added token begins with a space of its own only in the older manner
        assert (ids[2:-1] == words.encode("user the")) == legacy
        assert words.decode(ids) == "<s><|im_start|>user the<|im_start|>"


@needs_sentencepiece
def test_a_broken_sentencepiece_model_is_told_in_a_line(tmp_path):
    good = sentencepiece(tmp_path)
    for content, why in ((b"abc", "no SentencePiece model"), (b"", "empty"), (b"\x80\x04\x95", "a pickle"),
                         (good[: len(good) // 2], "no SentencePiece model")):  # fmt: skip
        (tmp_path / "tokenizer.model").write_bytes(content)
        with pytest.raises(UsageError, match=why) as caught:
            tokenizer(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.model").write_bytes(good)
    for config, why in (({"5": {"content": "<new>"}}, "another piece stands"),
                        ({"900": {"content": "<new>", "lstrip": True}}, "takes in the text beside it")):  # fmt: skip
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": config}))
        with pytest.raises(UsageError, match=why):
            tokenizer(tmp_path)


def test_without_its_library_a_sentencepiece_model_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").write_bytes(b"anything")
    monkeypatch.setattr("blockyard.data.tokenizer_model.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"blockyard\[sentencepiece\]") as caught:
        tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file, why", [
    (None, "has no tokenizer.json, so it reads no text"), ("tokenizer.pkl", "a pickle"), ("words.pickle", "a pickle"),
    ("vocab.txt", "an old form"), ("tekken.json", "no form of it"),
])  # fmt: skip
def test_a_tokenizer_that_is_not_there(file, why, tmp_path):
    if file:
        (tmp_path / file).write_bytes(b"\x80\x04")
    with pytest.raises(UsageError, match=why) as caught:
        tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
