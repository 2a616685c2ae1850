"""The engine of any `tokenizer.json`: normalisers, pre-tokenizers, models, added tokens, by the `tokenizers` library.

Source   https://github.com/huggingface/tokenizers
Differs  truncation, padding and dropout that a file asks for are left out: a text gets all its ids, the same every time
"""

import json
from collections.abc import Sequence
from typing import Any

from blockyard.data.foreign import Token
from blockyard.data.tokens import library, tokenizer_json

PROBES = ("a", "the", "1", ".", " a", "\n")  # texts of which one has a token, whatever the vocabulary


class TokenizerJson:
    """The `tokenizers` library with the content of a file and what the folder adds; ValueError where it cannot be.

    added     tokens that stand beside the file; one that it has already takes over what is said of it here
    literal   special tokens that stand in a text are read as plain text
    """

    def __init__(self, content: bytes, added: Sequence[Token] = (), literal: bool = False) -> None:
        said = tokenizer_json(content)
        model = said["model"]
        if model.get("dropout"):
            content = json.dumps({**said, "model": {**model, "dropout": None}}).encode()
        try:
            self._tokenizer = library().Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # the library raises bare ones
            raise ValueError(f"{error}".partition("\n")[0][:200]) from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._add(added)
        self._tokenizer.encode_special_tokens = literal
        self.before, self.after = self._around()
        self._processor, self._tokenizer.post_processor = self._tokenizer.post_processor, None  # it would trim offsets
        table = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab, self.kind = max(table.values(), default=-1) + 1, str(model.get("type") or "tokens").lower()
        if not self.vocab:
            raise ValueError("it has no tokens")
        unknown = model.get("unk_id")
        self.unknown: int | None = table.get(model.get("unk_token")) if unknown is None else unknown
        self._literal = literal

    def read(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [(each.ids, [end for _, end in each.offsets]) for each in found]

    def write(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def saved(self) -> bytes:
        around = {"before": self.before, "after": self.after, "literal": self._literal}
        return json.dumps({"tokenizer": self._tokenizer.to_str(), **around}).encode()

    def _add(self, added: Sequence[Token]) -> None:
        """Tokens in the order given; an id that is said must be the one that the token gets."""
        made = [library().AddedToken(each.content, single_word=each.single_word, lstrip=each.lstrip,
                                     rstrip=each.rstrip, normalized=each.normalized, special=each.special)
                for each in added]  # fmt: skip
        self._tokenizer.add_tokens(made)
        for each in added:
            got = self._tokenizer.token_to_id(each.content)
            if each.id is not None and got != each.id:
                raise ValueError(f"it has {each.content!r} at {got}, tokenizer_config.json at {each.id}")

    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that the processor puts around a text."""
        for probe in PROBES:
            try:
                whole: Any = self._tokenizer.encode(probe, add_special_tokens=True)
                alone = self._tokenizer.encode(probe, add_special_tokens=False).ids
            except Exception as error:  # a model without its unknown token
                raise ValueError(f"{error}".partition("\n")[0][:200]) from None
            own = [place for place, sequence in enumerate(whole.sequence_ids) if sequence == 0]
            if not alone or not own:
                continue
            before, after = whole.ids[: own[0]], whole.ids[own[-1] + 1 :]
            if [*before, *alone, *after] != whole.ids:
                raise ValueError("its processor does more than put tokens around a text")
            return tuple(before), tuple(after)
        raise ValueError("it makes no tokens of a letter, a digit or a stop")
