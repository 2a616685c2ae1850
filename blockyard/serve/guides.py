"""Answers in a form: a JSON schema becomes what may come next, by llguidance."""

import json
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.saved.tokenizer import Tokenizer

ANYTHING = {"type": "object"}


class SchemaGuide:
    """One answer that a schema describes; behind its end only tokens that end a text are allowed."""

    def __init__(self, words: Tokenizer, size: int, ends: tuple[int, ...], schema: dict[str, Any]) -> None:
        guidance = _library()
        known = _spelled(words, size, ends)
        try:
            grammar = guidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
            self._matcher = guidance.LLMatcher(known, grammar)
        except Exception as error:
            raise UsageError(f"response_format: {str(error).splitlines()[0]}") from None
        if self._matcher.is_error():
            raise UsageError(f"response_format: {self._matcher.get_error().splitlines()[0]}")
        self._size = size

    def allowed(self) -> Tensor:
        """(V,) bool: what may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._size].astype(bool))

    def take(self, token: int) -> None:
        """This token came."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise UsageError("answers by a schema need llguidance: pip install 'blockyard[serve]'") from None
    return llguidance


class _Words:
    """A tokenizer as llguidance asks for it: the bytes of every id."""

    def __init__(self, words: Tokenizer, size: int, ends: tuple[int, ...]) -> None:
        spelled = [words.codec.spell(i) if i < words.vocab else b"" for i in range(size)]
        special = {i for i, text in enumerate(spelled) if not text}
        self.tokens = [b"\xff" + b"[%d]" % i if i in special or i in ends else text for i, text in enumerate(spelled)]
        self.eos_token_id, self.bos_token_id = ends[0], None
        self.special_token_ids = sorted(special | set(ends))
        self._words = words

    def __call__(self, text: bytes) -> list[int]:
        return self._words.encode(text.decode("utf-8", "replace"), whole=False)


@cache
def _spelled(words: Tokenizer, size: int, ends: tuple[int, ...]) -> Any:
    guidance = _library()
    if not ends:
        raise UsageError("an answer by a schema ends with a token that ends a text, and this model's folder names none")
    wrapped = guidance.TokenizerWrapper(_Words(words, size, ends))
    return guidance.LLTokenizer(wrapped, n_vocab=size, eos_token=list(ends))
