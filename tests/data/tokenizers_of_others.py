"""Small tokenizers of every type, as other libraries write them, and texts of every sort."""

import io
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "the cat sat on the mat, naïve and quiet.\n" * 20, "def f(x):\n    return {x: 1}\n\n\n" * 20,
    "日本語の文章です。🙂 " * 20, "Ünïcode Ωμέγα привет 12345 it's we'll\t" * 10,
]  # fmt: skip
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{i:02X}>" for i in range(256)]


def _level(pattern=None):
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    return (
        level if pattern is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])
    )


def _byte_level(pattern, special, vocab=420):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = _level(pattern), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=letters, show_progress=False)
    )
    made.add_special_tokens(special)
    return made


def gpt2():
    made = _byte_level(None, ["<|endoftext|>"])
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return made, dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")


def llama3():
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    made = _byte_level(LLAMA3, special)
    start = made.token_to_id(special[0])
    template = processors.TemplateProcessing(
        single=f"{special[0]} $A", pair=f"{special[0]} $A {special[0]} $B", special_tokens=[(special[0], start)]
    )
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return made, dict(bos_token=special[0], eos_token=special[1])


def qwen():
    made = _byte_level(LLAMA3.replace("{1,3}", ""), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    made.normalizer, made.post_processor = normalizers.NFC(), processors.ByteLevel(trim_offsets=False)
    return made, dict(eos_token="<|im_end|>", pad_token="<|endoftext|>")


def _with_bytes(model, trainer, special):
    """A model whose characters it has not seen fall back to bytes: their tokens are put in after training."""
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    made.train_from_iterator(TEXTS, trainer)
    said = json.loads(made.to_str())
    learned = said["model"]["vocab"]
    if isinstance(learned, dict):
        names = [*special, *BYTES, *(t for t in sorted(learned, key=learned.get) if t not in {*special, *BYTES})]
        said["model"] |= {"vocab": {name: i for i, name in enumerate(names)}, "unk_token": special[0]}
    else:
        rest = [pair for pair in learned if pair[0] not in {*special, *BYTES}]
        said["model"] |= {"vocab": [*([name, 0.0] for name in (*special, *BYTES)), *rest], "unk_id": 0}
    said["model"]["byte_fallback"] = True
    said["added_tokens"] = []
    made = Tokenizer.from_str(json.dumps(said))
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return made


def llama2():
    trainer = trainers.BpeTrainer(vocab_size=250, show_progress=False)
    made = _with_bytes(models.BPE(), trainer, ["<unk>", "<s>", "</s>"])
    made.pre_tokenizer = None
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return made, dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True)


def mistral():
    made, said = llama2()
    made.normalizer = None
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return made, said


def gemma():
    made, said = llama2()
    made.normalizer, made.pre_tokenizer = normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_next")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<start_of_turn>", "<end_of_turn>"])
    return made, said


def unigram():
    trainer = trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    made = _with_bytes(models.Unigram(), trainer, ["<unk>", "<s>", "</s>"])
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always", split=True)])
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
    )
    return made, dict(eos_token="</s>", unk_token="<unk>")


def wordpiece():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made, dict(unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]")


def roberta():
    made = _byte_level(None, ["<s>", "</s>", "<unk>"])
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    ends = [("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>"))]
    made.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return made, dict(bos_token="<s>", eos_token="</s>", mask_token="<mask>")


KINDS = [gpt2, llama3, qwen, llama2, mistral, gemma, unigram, wordpiece, roberta]


def save(kind, folder, **config):
    """The files of one in a folder; the tokenizer itself."""
    made, said = kind()
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, **config}))
    return made


def strings(count=200):
    """Texts of every sort, the same every time: words, code, special tokens, spaces, emoji, CJK, control characters."""
    draw = random.Random(0)
    pieces = [
        "the", " cat", "Naïve ", "café", "cafe\u0301", "ﬁne ½", "日本語", "漢字かな", "한국어", "🙂", "👩‍👩‍👧‍👦", "🇩🇪",
        "def f(x):\n\treturn x[1:]", "a->b; //", "<s>", "</s>", "<unk>", "[CLS]", "[MASK] ", " <mask>", "<|im_start|>",
        "<|endoftext|>", "<think>", "<|eot_id|>", "<start_of_turn>user\n", "<0x41>", "\x00", "\x07\x7f",
        "\u200b\u202e", " ", "  ", "     ", "\t", "\n", "\n\n\n", "\r\n", "\u00a0", "\u3000", "1234567", "3.14", "it's",
        "WE'LL", "▁", "▁▁x", "Ġ", "привет", "שלום", "مرحبا", "a" * 40, "!?", "...", "\ufffd", "\ufeff", "x̷̢̛", "ß",
        "İ", "ǅ",
    ]  # fmt: skip
    whole = ["", *pieces]
    while len(whole) < count:
        whole.append("".join(draw.choices(pieces, k=draw.randint(2, 9))))
    return whole[:count]


def sentencepiece(folder, kind="bpe", **settings):
    """A tokenizer.model in a folder; its content."""
    import sentencepiece as library

    made = io.BytesIO()
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    library.SentencePieceTrainer.train(
        sentence_iterator=(line for text in TEXTS for line in text.splitlines()), model_writer=made, vocab_size=380,
        model_type=kind, byte_fallback=True, minloglevel=2, hard_vocab_limit=False, num_threads=1, **plain | settings,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    return made.getvalue()
