"""A tokenizer as llama.cpp reads it from its own file: byte-level pairs, or pieces of SentencePiece by their scores.

    tokenizer.json    byte-level BPE of one of the ways to split a text that llama.cpp has, with tokens beside it
    tokenizer.model   pieces that are merged by score, with all bytes among them

Neither: the model takes and gives ids. A tokenizer that is none of these is refused; ids would mean other texts.

Source   https://github.com/ggml-org/llama.cpp (the kinds of tokenizers, and what each takes where a file says nothing)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blockyard.core.errors import UsageError, brief
from blockyard.data.foreign import Token
from blockyard.data.tokenizer_json import TokenizerJson
from blockyard.data.tokens import byte_chars, tokenizer_json
from blockyard.interop.sentences import Pieces, read_pieces

NORMAL, UNKNOWN, CONTROL, USER, UNUSED = 1, 2, 3, 4, 5  # the kinds of tokens of the file
MARKS = ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")  # of BPE that is not byte-level
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLITS = {  # how a text is split, and what that is called there; and whether whole words are looked up first
    (f"{_SHORT}|{_LETTERS}|\\p{{N}}{{1,3}}|{_REST}", True): "llama-bpe",
    (f"{_SHORT}|{_LETTERS}|\\p{{N}}{{1,3}}|{_REST}", False): "smaug-bpe",
    (f"{_SHORT}|{_LETTERS}|\\p{{N}}|{_REST}", False): "qwen2",
}
NAMED = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
ENDS = ("eos", "eot", "eom")  # ids that may end a text
AS_IDS = "none: it takes and gives ids"


@dataclass
class Words:
    """What a file says of its tokenizer: settings by their names, what it is in a line, and what differs."""

    settings: dict[str, Any]
    told: str
    near: list[str] = field(default_factory=list)


def words(kept: Mapping[str, bytes], rows: int) -> Words:
    """The tokenizer of a folder's small files for a model of so many ids; UsageError where it cannot be said there."""
    if "tokenizer.json" not in kept and "tokenizer.model" not in kept:
        return Words({"tokenizer.ggml.model": "none"}, AS_IDS)
    said = _object(kept, "special_tokens_map.json") | _object(kept, "tokenizer_config.json")
    try:
        if "added_tokens.json" in kept and "tokenizer.json" not in kept and "added_tokens_decoder" not in said:
            raise ValueError("added_tokens.json is an old form; save the folder again with transformers")
        if "tokenizer.json" in kept and (why := _no_pairs(tokenizer_json(kept["tokenizer.json"]))) is None:
            found = _pairs(kept["tokenizer.json"], said)
        elif "tokenizer.model" in kept:
            found = _pieces(read_pieces(kept["tokenizer.model"]), said)
        else:
            raise ValueError(why)
        return _whole(found, kept, said, rows)
    except ValueError as error:  # UsageError among them
        mend = "by.export(by.load(folder), to='gguf', out=...) leaves it out, and the file takes and gives ids"
        raise UsageError(f"gguf: the tokenizer cannot be said to llama.cpp: {error}; {mend}") from None


@dataclass
class _Found:
    """A tokenizer: what it is, its tokens and their kinds, what it puts around a text, what else the file says, and its
    own special ids, by what they are called there."""

    model: str
    told: str
    tokens: dict[int, tuple[str, int]]
    around: tuple[tuple[int, ...], tuple[int, ...]]
    more: dict[str, Any]
    scores: dict[int, float] | None = None
    near: list[str] = field(default_factory=list)
    own: dict[str, int] = field(default_factory=dict)


def _no_pairs(said: Mapping[str, Any]) -> str | None:
    """Why a tokenizer.json is no byte-level BPE that llama.cpp has; None where it is."""
    model, normal = said["model"], said.get("normalizer")
    if model.get("type") != "BPE":
        return f"llama.cpp has no byte-level {model.get('type')}"
    if odd := next((each for each in MARKS if model.get(each)), None):
        return f"{odd} is not known there; llama.cpp reads such a tokenizer from its tokenizer.model"
    if normal is not None and normal.get("type") != "NFC":
        return f"it normalises a text ({normal.get('type')})"
    if _split(said) is None:
        return f"the way it splits a text is not known there ({brief(json.dumps(said.get('pre_tokenizer')))})"
    missing = [char for char in byte_chars() if char not in (model.get("vocab") or {})]
    return f"{len(missing)} bytes have no token" if missing else None


def _split(said: Mapping[str, Any]) -> str | None:
    """What the way to split a text is called there."""
    level = said.get("pre_tokenizer") or {}
    steps = level.get("pretokenizers", []) if level.get("type") == "Sequence" else [level]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    *first, last = steps
    whole = bool(said["model"].get("ignore_merges"))
    if not first:
        plain = last.get("use_regex", True) or not said["model"].get("merges")  # without merges no split counts
        return "gpt-2" if plain and not whole else None
    if len(first) > 1 or (whole and first[0].get("type") == "Digits"):
        return None
    if first[0] == {"type": "Digits", "individual_digits": True} and last.get("use_regex", True):
        return "starcoder"
    pattern = first[0].get("pattern") or {}
    plain = first[0].get("behavior") == "Isolated" and not first[0].get("invert") and not last.get("use_regex", True)
    return SPLITS.get((pattern.get("Regex", ""), whole)) if plain else None


def _pairs(content: bytes, config: Mapping[str, Any]) -> _Found:
    """Byte-level BPE."""
    said = tokenizer_json(content)
    model, added = said["model"], {int(each["id"]): each for each in said.get("added_tokens") or ()}
    for place, each in (config.get("added_tokens_decoder") or {}).items():
        added.setdefault(int(place), each)
    tokens = {i: (token, NORMAL) for token, i in model["vocab"].items()}
    for i, each in added.items():
        if odd := [name for name in ("lstrip", "rstrip", "single_word") if each.get(name)]:
            raise ValueError(f"the token {each['content']!r} takes in the text beside it ({odd[0]})")
        tokens[i] = each["content"], CONTROL if each.get("special") else USER
    merges = [each if isinstance(each, str) else " ".join(each) for each in model.get("merges") or ()]
    chars = byte_chars()
    # an array is never empty there: two bytes that no text has beside each other, so they are never merged
    merges = merges or [f"{chars[0xC0]} {chars[0xC0]}"]
    more = {"tokenizer.ggml.pre": _split(said), "tokenizer.ggml.merges": merges}
    engine = TokenizerJson(content, [Token(each["content"], i, bool(each.get("special"))) for i, each in added.items()])
    near = ["texts are not normalised (NFC)"] if said.get("normalizer") else []
    return _Found("gpt2", f"byte-level BPE of {len(tokens)}", tokens, (engine.before, engine.after), more, None, near)


def _pieces(found: Pieces, config: Mapping[str, Any]) -> _Found:
    """Pieces of SentencePiece that are merged by their scores."""
    if (why := found.not_there) is not None:
        raise ValueError(why)
    tokens = {i: (piece, kind) for i, (piece, _, kind) in enumerate(found.pieces)}
    scores = {i: score for i, (_, score, _) in enumerate(found.pieces)}
    for place, each in (config.get("added_tokens_decoder") or {}).items():
        i, special = int(place), bool(each.get("special"))
        if i in tokens and tokens[i][0] != each["content"]:
            raise ValueError(f"tokenizer_config.json has {each['content']!r} at {i}, where another piece stands")
        kept = tokens[i][1] if i in tokens and tokens[i][1] != NORMAL else CONTROL if special else USER
        tokens[i], scores[i] = (each["content"], kept), scores.get(i, -1000.0)
    more = {"tokenizer.ggml.pre": "default", "tokenizer.ggml.add_space_prefix": found.prefixed}
    begins, closes = config.get("add_bos_token", True) is True, config.get("add_eos_token", False) is True
    around = found.before if begins else (), found.after if closes else ()
    own = {"unknown": next((i for i, (_, _, kind) in enumerate(found.pieces) if kind == UNKNOWN), 0)}
    own |= dict(zip(("bos",), found.before)) | dict(zip(("eos",), found.after))
    return _Found("llama", f"SentencePiece of {len(tokens)}", tokens, around, more, scores, own=own)


def _whole(found: _Found, kept: Mapping[str, bytes], config: Mapping[str, Any], rows: int) -> Words:
    """The settings, with an unused token for each row of the model that has none."""
    if (last := max(found.tokens)) >= rows:
        raise ValueError(f"it has ids up to {last}, and the model {rows} rows")
    spare = {i: (f"[PAD{i}]", UNUSED) for i in range(rows)}
    every = [found.tokens.get(i, spare[i]) for i in range(rows)]
    if len({text for text, _ in every}) < rows:
        raise ValueError("two of its ids have the same token")
    said: dict[str, Any] = {
        "tokenizer.ggml.model": found.model, **found.more,
        "tokenizer.ggml.tokens": [text for text, _ in every],
        "tokenizer.ggml.token_type": [kind for _, kind in every],
    }  # fmt: skip
    if found.scores is not None:
        said["tokenizer.ggml.scores"] = [float(found.scores.get(i, -1000.0)) for i in range(rows)]
    said |= _special(found, kept, config, {text: i for i, (text, _) in enumerate(every)})
    template = kept["chat_template.jinja"].decode() if "chat_template.jinja" in kept else config.get("chat_template")
    if isinstance(template, list):  # of several the usual one
        template = next((each.get("template") for each in template if each.get("name") == "default"), None)
    if isinstance(template, str):
        said["tokenizer.chat_template"] = template
    return Words(said, found.told, found.near)


def _special(
    found: _Found, kept: Mapping[str, bytes], config: Mapping[str, Any], ids: Mapping[str, int]
) -> dict[str, Any]:  # fmt: skip
    """Which ids begin, end and fill a text, and which are put around one. None is left to what llama.cpp takes."""
    named = {name: _content(config.get(theirs)) for name, theirs in NAMED.items()}
    said = found.own | {name: ids[text] for name, text in named.items() if text is not None and text in ids}
    asked = _object(kept, "generation_config.json").get("eos_token_id")
    ends = list(dict.fromkeys([*(asked if isinstance(asked, list) else [asked] if asked is not None else [])]))
    before, after = found.around
    if len(before) > 1 or len(after) > 1 or len(ends) > len(ENDS):
        raise ValueError("it puts several tokens around a text, or more than three end one")
    if after:
        ends = [after[0], *(each for each in ends if each != after[0])]
    said |= dict(zip(ENDS, ends)) | ({"bos": before[0]} if before else {})
    said.setdefault("eos", ids.get(byte_chars()[0xFF], ids.get("<0xFF>", 0)))  # no text has this byte: none ends it
    said.setdefault("bos", said["eos"])  # never put there
    return {f"tokenizer.ggml.{name}_token_id": i for name, i in said.items()} | {
        "tokenizer.ggml.add_bos_token": bool(before), "tokenizer.ggml.add_eos_token": bool(after),
    }  # fmt: skip


def _content(said: Any) -> str | None:
    return said.get("content") if isinstance(said, dict) else said


def _object(kept: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        said = json.loads(kept.get(name, b"{}"))
    except ValueError:
        raise UsageError(f"{name} is not JSON") from None
    return said if isinstance(said, dict) else {}
