"""Answers in a form: a JSON schema becomes what may come next, by llguidance."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.data.foreign import Foreign
from blockyard.interop.tokenizer import JSON, Tokenizer

MOST = 1 << 16  # characters of a schema: the time that the library takes for one grows with their square


class SchemaGuide:
    """One answer of a model of `size` tokens that a grammar describes."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher, self._size = matcher, size

    @staticmethod
    def of(
        words: Tokenizer, size: int, ends: tuple[int, ...], schema: dict[str, Any], many: int
    ) -> "list[SchemaGuide]":
        """So many answers that a JSON schema describes; `ends` are tokens that end a text, if any do."""
        library, known, text = _library().LLMatcher, _spelled(words, size, ends), json.dumps(schema)
        if len(text) > MOST:
            raise UsageError(f"response_format: a schema has at most {MOST} characters, not {len(text)}")
        try:
            matcher = library(known, library.grammar_from_json_schema(text), log_level=0)
        except Exception as error:  # the library raises several kinds
            raise _wrong(str(error)) from None
        if matcher.is_error():
            raise _wrong(matcher.get_error())
        SchemaGuide(matcher, size).allowed()
        return [SchemaGuide(matcher.deep_copy(), size) for _ in range(many)]

    def allowed(self) -> Tensor:
        """(V,) bool: what may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        found = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._size].astype(bool))
        if self._matcher.is_error() or self.ended or not found.any():
            raise _wrong(f"nothing may come next by this schema: {self._matcher.get_error()}")
        return found

    def take(self, token: int) -> None:
        """This token came."""
        if not self._matcher.consume_token(token):
            raise _wrong(self._matcher.get_error())

    @property
    def ended(self) -> bool:
        """Whether the answer is whole."""
        return self._matcher.is_stopped()


def _wrong(why: str) -> UsageError:
    """The library shows all that it holds below a first line."""
    first, _, _ = why.partition("\n")
    return UsageError(f"response_format: {first[:200]}")


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise UsageError("answers by a schema need llguidance: pip install 'blockyard[serve]'") from None
    return llguidance


class _Spelled:
    """A tokenizer as llguidance asks for it: the bytes of every id, and one id more that ends a text."""

    def __init__(self, words: Tokenizer, size: int) -> None:
        spelled = [words.codec.decode_utf8([i]) if i < words.vocab else b"" for i in range(size)]
        self.special_token_ids = [i for i, text in enumerate(spelled) if not text] + [size]
        self.tokens = [text or b"\xff[%d]" % i for i, text in enumerate([*spelled, b""])]
        self.eos_token_id, self.bos_token_id = size, None
        self._words = words

    def __call__(self, text: bytes) -> list[int]:
        return self._words.encode(text.decode("utf-8", "replace"), whole=False)


@lru_cache(16)
def _spelled(words: Tokenizer, size: int, ends: tuple[int, ...]) -> Any:
    guidance = _library()
    if not isinstance(words.codec, Foreign):
        return guidance.LLTokenizer(guidance.TokenizerWrapper(_Spelled(words, size)), n_vocab=size + 1)
    file = Path(words.where) / JSON
    if not file.exists() or not ends:
        raise UsageError(f"answers by a schema need a {JSON}, and a token that ends a text; {words.where} lacks one")
    return guidance.LLTokenizer(file.read_text(encoding="utf-8"), n_vocab=size, eos_token=list(ends))
