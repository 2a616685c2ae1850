"""What a file for llama.cpp says of its tokenizer gives the ids that ours gives, or is refused."""

import io
import json

import pytest

import blockyard as by
from blockyard import UsageError
from blockyard.data.tokens import Bpe, Bytes
from blockyard.interop.ggml_words import words
from blockyard.interop.sentences import read_pieces
from tests.interop.test_gguf import opened

gguf = pytest.importorskip("gguf")
TEXT = "The cat's 1234 mats, it'll 've\n\n  sat   on\tthe mat!? Καλημέρα 東京 é🙂 <|end|> x" * 3
LEARNED = ["the cat sat on the mat, it's 1234 and 99 mats!\n\n  They'll see. Καλημέρα 東京 é" * 9]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UNIGRAM = dict(model_type="unigram", vocab_size=330, hard_vocab_limit=False)


def pairs(split, merges_first=False, begin=True):
    """A tokenizer.json of byte-level pairs behind another split, with a beginning, an end and a plain token beside."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made, level = Tokenizer(models.BPE(ignore_merges=merges_first)), pre_tokenizers.ByteLevel(False, use_regex=False)
    first = pre_tokenizers.Digits(True) if split is None else pre_tokenizers.Split(Regex(split), "isolated")
    level = pre_tokenizers.ByteLevel(False) if split is None else level
    made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence([first, level]), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    how = dict(special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=letters, show_progress=False)
    trainer = trainers.BpeTrainer(vocab_size=340, **how)
    made.train_from_iterator(LEARNED, trainer)
    made.add_tokens([AddedToken("mats", special=False, normalized=False)])
    if begin:
        around = dict(single="<|begin|> $A", special_tokens=[("<|begin|>", made.token_to_id("<|begin|>"))])
        made.post_processor = processors.TemplateProcessing(**around)
    return json.loads(made.to_str())


def sentences(**how):
    import sentencepiece

    written = io.BytesIO()
    plain = dict(
        model_type="bpe", vocab_size=360, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.98, minloglevel=2, max_sentence_length=9000,
    )  # fmt: skip
    texts = [line for text in LEARNED for line in text.split("\n")]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=written, **plain | how)
    return written.getvalue()


def a_model(folder, vocab, **files):
    """A saved model of so many ids and of files beside it."""
    by.build("llama", size="tiny", vocab=vocab).save(folder, beside=files)
    return folder


FILES = {
    "bytes": lambda: {"tokenizer.json": Bytes().to_json()},
    "bpe": lambda: {"tokenizer.json": Bpe.train([LEARNED[0].encode()], 330).to_json()},
    "llama 3": lambda: {"tokenizer.json": json.dumps(pairs(LLAMA3, True)).encode()},
    "qwen 2": lambda: {"tokenizer.json": json.dumps(pairs(LLAMA3.replace("{1,3}", ""), begin=False)).encode()},
    "digits": lambda: {"tokenizer.json": json.dumps(pairs(None)).encode()},
    "sentences": lambda: {"tokenizer.model": sentences()},
    "sentences without a space": lambda: {
        "tokenizer.model": sentences(add_dummy_prefix=False), "tokenizer_config.json": b'{"add_bos_token": false}',
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_llama_cpp_reads_a_text_as_we_do(name, tmp_path):
    pytest.importorskip("sentencepiece")
    folder = a_model(tmp_path / "m", 440, **FILES[name]())
    by.export(folder, to="gguf", out=tmp_path / "x.gguf")
    there, ours = opened(tmp_path / "x.gguf"), by.tokenizer(folder)
    for piece in (TEXT, " the", "mat", "\n", "  a  b ", "12345"):
        assert there.tokenize(piece.encode(), special=True) == ours.encode(piece), piece
    ids = ours.encode(TEXT, whole=False)
    assert there.detokenize(ids, special=True).decode().strip() == ours.decode(ids).strip()


def said_of(files, rows=440):
    return words(files, rows).settings


def test_byte_level_pairs_are_said_as_they_stand():
    codec = Bpe.train([LEARNED[0].encode()], 330)
    said = said_of({"tokenizer.json": codec.to_json()}, 400)
    model = json.loads(codec.to_json())["model"]
    assert said["tokenizer.ggml.model"] == "gpt2" and said["tokenizer.ggml.pre"] == "gpt-2"
    assert {text: i for i, text in enumerate(said["tokenizer.ggml.tokens"][: codec.vocab])} == model["vocab"]
    assert [tuple(pair.split(" ")) for pair in said["tokenizer.ggml.merges"]] == [
        tuple(each if isinstance(each, list) else each.split(" ")) for each in model["merges"]
    ]
    assert said["tokenizer.ggml.token_type"] == [1] * codec.vocab + [5] * (400 - codec.vocab)
    assert len(set(said["tokenizer.ggml.tokens"])) == 400
    # nothing ends a text of this codec: the id of a byte that no text has, and not what llama.cpp would take
    assert said["tokenizer.ggml.tokens"][said["tokenizer.ggml.eos_token_id"]] == "ÿ"
    assert said["tokenizer.ggml.add_bos_token"] is False


def test_tokens_beside_and_around_are_said():
    files = {
        "tokenizer.json": json.dumps(pairs(LLAMA3, True)).encode(),
        "tokenizer_config.json": b'{"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}}',
        "generation_config.json": b'{"eos_token_id": [1, 2]}',
        "chat_template.jinja": b"{{ messages }}",
    }
    said = said_of(files)
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    found = {tokens[i]: kinds[i] for i in range(440)}
    assert (found["<|begin|>"], found["<|end|>"], found["mats"], found["a"]) == (3, 3, 4, 1)
    assert said["tokenizer.ggml.pre"] == "llama-bpe" and said["tokenizer.ggml.add_bos_token"] is True
    assert said["tokenizer.ggml.bos_token_id"] == tokens.index("<|begin|>")
    assert (said["tokenizer.ggml.eos_token_id"], said["tokenizer.ggml.eot_token_id"]) == (1, 2)
    assert said["tokenizer.chat_template"] == "{{ messages }}"
    assert said_of({"tokenizer.json": json.dumps(pairs(LLAMA3)).encode()})["tokenizer.ggml.pre"] == "smaug-bpe"


def test_pieces_are_read_as_sentencepiece_reads_them():
    library = pytest.importorskip("sentencepiece")
    for how in ({}, dict(add_dummy_prefix=False, bos_id=-1), UNIGRAM):
        content = sentences(**how)
        theirs, ours = library.SentencePieceProcessor(model_proto=content), read_pieces(content)
        size = theirs.get_piece_size()
        assert [(text, score) for text, score, _ in ours.pieces] == [
            (theirs.id_to_piece(i), theirs.get_score(i)) for i in range(size)
        ]
        assert [kind == 6 for _, _, kind in ours.pieces] == [theirs.is_byte(i) for i in range(size)]
        assert [kind == 3 for _, _, kind in ours.pieces] == [theirs.is_control(i) for i in range(size)]
        assert ours.before == ((theirs.bos_id(),) if theirs.bos_id() >= 0 else ())
        assert ours.prefixed == how.get("add_dummy_prefix", True)
    said = said_of({"tokenizer.model": sentences()})
    assert [said[f"tokenizer.ggml.{name}_token_id"] for name in ("unknown", "bos", "eos")] == [0, 1, 2]
    assert said["tokenizer.ggml.add_bos_token"] is True and said["tokenizer.ggml.token_type"][-1] == 5
    for wrong in (b"\x80\x04]", b"\x0a\xff\xff\xff\xff\x7f", b"not a model at all", content[:-3], b""):
        with pytest.raises(ValueError, match="no model of SentencePiece"):
            read_pieces(wrong)


@pytest.mark.parametrize(("files", "why"), [
    (lambda: {"tokenizer.json": Bpe.likely([LEARNED[0].encode()], 300).to_json()}, "no byte-level Unigram"),
    (lambda: {"tokenizer.json": json.dumps(pairs(r"\w+|.")).encode()}, "the way it splits a text"),
    (lambda: {"tokenizer.json": json.dumps(pairs(LLAMA3) | {"normalizer": {"type": "Lowercase"}}).encode()}, "Lowerc"),
    (lambda: {"tokenizer.model": sentences(**UNIGRAM)}, "by likelihood"),
    (lambda: {"tokenizer.model": sentences(normalization_rule_name="nmt_nfkc")}, "the rule nmt_nfkc"),
    (lambda: {"tokenizer.model": sentences(byte_fallback=False, vocab_size=90)}, "of 256 bytes"),
    (lambda: {"tokenizer.model": b"{]"}, "no model of SentencePiece"),
    (lambda: {"tokenizer.json": b"{]"}, "not JSON"),
    (lambda: {"tokenizer.json": Bpe.train([LEARNED[0].encode()], 600).to_json()}, "and the model 300 rows"),
])  # fmt: skip
def test_what_cannot_be_said_is_refused_in_a_line(files, why):
    pytest.importorskip("sentencepiece")
    with pytest.raises(UsageError, match=f"gguf: .*{why}") as caught:
        said_of(files(), 300 if "300" in why else 440)
    assert "\n" not in str(caught.value)


def test_without_a_tokenizer_it_takes_ids(tmp_path):
    done = by.export(by.build("llama", size="tiny"), to="gguf", out=tmp_path / "x.gguf")
    assert "ids" in done.told["tokenizer"] and said_of({}) == {"tokenizer.ggml.model": "none"}
