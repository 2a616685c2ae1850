"""The tokenizer of a folder: text to ids and back, conversations, and the files that all of it is in.

    words = by.tokenizer("folder")          ours, or one that transformers saved; OUT:ARM of a comparison as well
    ids = words.encode("a text")            with what the tokenizer puts around a text
    words.decode(ids)
    words.chat([{"role": "user", "content": "hello"}])

Read are tokenizer.json, else tokenizer.model (with the extra `sentencepiece`); tokenizer_config.json, added_tokens.json
and special_tokens_map.json for tokens that stand beside them; chat templates. No pickle is opened, no code is loaded.
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from blockyard.core.errors import UsageError, brief
from blockyard.core.files import is_missing, read_json
from blockyard.data.foreign import Foreign, Token
from blockyard.data.tokenizer_json import TokenizerJson
from blockyard.data.tokenizer_model import TokenizerModel
from blockyard.data.tokens import Codec, codec_from_json, spells, tokenizer_json
from blockyard.interop.chat import SEVERAL, SINGLE, Message, chat_templates, chosen, render
from blockyard.interop.defaults import FILE as GENERATION
from blockyard.interop.defaults import generation_defaults
from blockyard.interop.peft import base_of, is_peft
from blockyard.model.attachment import INDEX, home_of
from blockyard.model.find import find_model
from blockyard.model.model import Model

JSON, MODEL, CONFIG = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"
ADDED, SPECIAL = "added_tokens.json", "special_tokens_map.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
OTHERS = {  # what holds a tokenizer in a form that is not read
    **dict.fromkeys(("*.pkl", "*.pickle"), "a pickle, which is never opened"),
    **dict.fromkeys(("tekken.json", "*.tiktoken", "tokenizer.bin"), "no form of it that is known"),
    **dict.fromkeys(("vocab.json", "vocab.txt"), "an old form of it"),
    **dict.fromkeys(("spiece.model", "sentencepiece.bpe.model"), "another name of tokenizer.model"),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """What reads and writes text for the model of a folder.

    codec       text to ids and back                         special    bos_token and the like, by name
    templates   chat templates by name                       notes      what the files say that is not followed
    """

    where: str
    codec: Codec
    special: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def vocab(self) -> int:
        """One more than the highest id."""
        return self.codec.vocab

    def encode(self, text: str, *, whole: bool = True) -> list[int]:
        """The ids of a text; `whole`: with those that the tokenizer puts around it (a beginning, an end)."""
        ids = self.codec.encode(text).tolist()
        return [*self.codec.before, *ids, *self.codec.after] if whole else ids

    def prompt(self, text: str) -> list[int]:
        """The ids of a text that goes on: with those in front of it, without those that would close it."""
        return [*self.codec.before, *self.codec.encode(text).tolist()]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special tokens as they are written."""
        return self.codec.decode(ids)

    def chat(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None, template: str | None = None, **more: Any,
    ) -> str:  # fmt: skip
        """The text of a conversation by the folder's chat template, to be encoded with `whole=False`.

        messages               {"role": ..., "content": ...} each, in order
        add_generation_prompt  whether the beginning of an answer stands at its end
        tools                  JSON schemas of functions that may be called; None: none
        template               the name of a template, where there are several
        more                   other variables that the template reads
        """
        source = chosen(self.templates, template, tools, self.where)
        return render(
            source, messages, self.where, self.special, add_generation_prompt=add_generation_prompt, tools=tools, **more
        )


def tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of the model in a folder; UsageError, in a line, where there is none that can be used.

    folder   of a model that we or transformers saved, or OUT:ARM of a comparison
    """
    path = words_home(folder)
    config = read_json(path / CONFIG) if (path / CONFIG).exists() else {}
    listed = _listed(path, config)
    codec, notes = _codec(path, config, listed)
    return Tokenizer(str(path), codec, listed.contents, chat_templates(path, config), tuple(notes))


def fitting(words: Tokenizer, model: Model, where: object) -> Tokenizer:
    """The tokenizer, where the model has all of its ids; else UsageError. `where` names the folder."""
    known = model.axes["stem.vocab"].size
    if words.vocab > known:
        raise UsageError(f"{where} has {words.vocab} tokens and the model {known}: they are not of one model")
    return words


def home_of_model(folder: str | Path) -> Path:
    """The folder with the config.json of a model: its own, or of an adapter that of the model it goes onto."""
    path = find_model(folder)
    if is_missing(path / "config.json") and not is_missing(path / INDEX):
        return home_of_model(home_of(path))
    return base_of(path) if is_missing(path / "config.json") and is_peft(path) else path


def words_home(folder: str | Path) -> Path:
    """The folder whose files make text of a model's ids: its own, or of an adapter that of the model it goes onto."""
    path = find_model(folder)
    if is_missing(path / "config.json") and not is_missing(path / INDEX):
        return words_home(home_of(path))
    if is_missing(path / "config.json") and is_peft(path) and not has_words(path):
        return words_home(base_of(path))
    return path


def has_words(path: Path) -> bool:
    """Whether a folder holds a tokenizer that we may read."""
    return any((path / name).exists() for name in (JSON, MODEL))


def codec_of(folder: str | Path) -> Codec | None:
    """The codec of the model in a folder; None where no file says one."""
    return tokenizer(folder).codec if has_words(words_home(folder)) else None


def chat_prompt(
    folder: str | Path, messages: Sequence[Message], *, add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None, template: str | None = None, **more: Any,
) -> str:  # fmt: skip
    """The text of a conversation by the chat template of a folder; its tokenizer is not opened.

    folder                 of a model that we or transformers saved, or OUT:ARM of a comparison
    messages               {"role": ..., "content": ...} each, in order
    add_generation_prompt  whether the beginning of an answer stands at its end
    tools                  JSON schemas of functions that may be called; None: none
    template               the name of a template, where there are several
    more                   other variables that the template reads
    """
    path = words_home(folder)
    config = read_json(path / CONFIG) if (path / CONFIG).exists() else {}
    source = chosen(chat_templates(path, config), template, tools, str(path))
    special = _listed(path, config).contents
    return render(
        source, messages, str(path), special, add_generation_prompt=add_generation_prompt, tools=tools, **more
    )


def text_files(folder: str | Path) -> dict[str, bytes]:
    """By name, the files that make text of a model's ids: tokenizer, chat templates, defaults of writing.

    folder   of a model that we or transformers saved, or OUT:ARM of a comparison

    They go beside another model of the same tokens: `model.save(other, beside=by.text_files(folder))`.
    """
    path = words_home(folder)
    names = [JSON, MODEL, CONFIG, ADDED, SPECIAL, SINGLE, GENERATION]
    found = {name: (path / name).read_bytes() for name in names if (path / name).is_file()}
    if (path / SEVERAL).is_dir():  # in a folder of ours files lie side by side
        config = read_json(path / CONFIG) if CONFIG in found else {}
        said = [{"name": name, "template": text} for name, text in chat_templates(path, config).items()]
        found[CONFIG] = json.dumps({**config, "chat_template": said}, indent=1).encode()
        found.pop(SINGLE, None)
    if GENERATION not in found and (ends := generation_defaults(path).stop):  # config.json becomes one of ours
        found[GENERATION] = json.dumps({"eos_token_id": list(ends)}).encode()
    return found


def usable_files(path: Path) -> dict[str, bytes]:
    """The same, with a warning where we cannot read the tokenizer among them."""
    found = text_files(path)
    if has_words(words_home(path)):
        try:
            tokenizer(path)
        except UsageError as error:
            warnings.warn(f"the copy of the tokenizer is for other libraries: {error}", stacklevel=3)
    return found


class _Listed(NamedTuple):
    """The tokens that stand beside a tokenizer: by their names, with ids of their own, and further special ones."""

    named: dict[str, Token]
    added: list[Token]
    further: list[Token]

    @property
    def contents(self) -> dict[str, str]:
        """What a template may name."""
        return {name: token.content for name, token in self.named.items()}

    def beyond(self, known: Iterable[str] = ()) -> list[Token]:
        """Each token once, in the order in which it is added; special ones that are known already stay as they are."""
        seen, known = {token.content: token for token in reversed(self.added)}, set(known)
        for token in (*self.named.values(), *self.further):
            if token.content not in known:
                seen.setdefault(token.content, token)
        first = [seen.pop(token.content) for token in self.added if token.content in seen]
        return [*first, *seen.values()]


def _codec(path: Path, config: Mapping[str, Any], listed: _Listed) -> tuple[Codec, list[str]]:
    literal = config.get("split_special_tokens") is True
    file = next((path / name for name in (JSON, MODEL) if (path / name).exists()), None)
    if file is None:
        raise UsageError(_missing(path))
    try:
        content = file.read_bytes()
        if file.name == MODEL:
            return _sentencepiece(path, content, config, listed, literal)
        said = tokenizer_json(content)
        new = listed.beyond(str(each["content"]) for each in said.get("added_tokens") or () if "content" in each)
        if spells(said) and not new:
            return codec_from_json(content), []
        codec = Foreign(TokenizerJson(content, new, literal))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"{file} cannot be used: {error}") from None
    begins = listed.contents.get("bos_token")
    puts = codec.before != () and codec.decode(codec.before[:1]) == begins
    if isinstance(asks := config.get("add_bos_token"), bool) and asks != puts:
        how = "puts" if puts else "does not put"
        return codec, [f"{CONFIG} says add_bos_token={asks}, but {JSON} {how} it before a text, and that holds"]
    return codec, []


def _sentencepiece(
    path: Path, content: bytes, config: Mapping[str, Any], listed: _Listed, literal: bool
) -> tuple[Codec, list[str]]:
    notes, ends = [], {}
    for name, usual in (("add_bos_token", True), ("add_eos_token", False)):
        ends[name] = config.get(name, usual)
        if not isinstance(ends[name], bool):
            raise UsageError(f"{path / CONFIG}: {name} {brief(repr(ends[name]))} must be true or false")
    every = config.get("legacy", True) is not False
    begins, closes = ends.values()
    codec = Foreign(TokenizerModel(content, listed.beyond(), begins, closes, every, literal))
    if "add_bos_token" not in config and codec.before:
        notes.append(f"{CONFIG} does not say add_bos_token: {MODEL} has a token that begins texts, and it is put there")
    return codec, notes


def _listed(path: Path, config: Mapping[str, Any]) -> _Listed:
    """The tokens of tokenizer_config.json; where it lists none with ids, those of the older files too."""
    where, config = path / CONFIG, dict(config)
    listed = config.get("added_tokens_decoder")
    if listed is None and (path / SPECIAL).exists():
        config |= read_json(path / SPECIAL)
    try:
        added = [_token(token, int(i)) for i, token in (listed or {}).items()]
    except (ValueError, AttributeError):
        raise UsageError(f"{where}: added_tokens_decoder does not map ids to tokens") from None
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    more = {name for name, value in config.items() if name.endswith("_token") and isinstance(value, str)}
    names = [name for name in (*NAMED, *sorted(more - {*NAMED})) if config.get(name) is not None]
    asked = {name: config[name] for name in names} | (extra if isinstance(extra, dict) else {})
    try:
        named = {name: _token(token, None) for name, token in asked.items()}
        further = [] if isinstance(extra, dict) else [_token(token, None) for token in extra]
    except (ValueError, TypeError):
        raise UsageError(f"{where}: a special token is neither a text nor an object with content") from None
    if listed is None and (path / ADDED).exists():
        special = {token.content for token in (*named.values(), *further)}
        for content, i in read_json(path / ADDED).items():
            if type(i) is not int or i < 0:
                raise UsageError(f"{path / ADDED}: {brief(repr(i))} is no id")
            added.append(Token(content, i, content in special, normalized=content not in special))
    return _Listed(named, sorted(added, key=lambda token: token.id or 0), further)


def _token(said: Any, i: int | None) -> Token:
    """A token as a config writes it: a text, or an object with its flags."""
    if isinstance(said, str) and said and i is None:
        return Token(said)
    if not isinstance(said, dict) or not isinstance(content := said.get("content"), str) or not content:
        raise ValueError
    special = bool(said.get("special", i is None))
    flags = {name: bool(said.get(name, name == "normalized" and not special)) for name in FLAGS}
    return Token(content, i, special, **flags)


def _missing(path: Path) -> str:
    """Why there is no tokenizer: a form of it that is not read, or none at all."""
    for pattern, why in OTHERS.items():
        if found := next(iter(sorted(path.glob(pattern))), None):
            return f"{path} has no {JSON}, and {found.name} is {why}; save it again with transformers, as {JSON}"
    return f"{path} has no {JSON}, so it reads no text: was it trained on a task?"
