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
from blockyard.saved.tokenizer import JSON, Tokenizer


class SchemaGuide:
    """One answer of a model of `size` tokens that a schema describes; `ends` are tokens that end a text, if any do."""

    def __init__(self, words: Tokenizer, size: int, ends: tuple[int, ...], schema: dict[str, Any]) -> None:
        matcher = _library().LLMatcher
        known = _spelled(words, size, ends)
        try:
            self._matcher = matcher(known, matcher.grammar_from_json_schema(json.dumps(schema)))
            wrong = self._matcher.get_error() if self._matcher.is_error() else ""
        except Exception as error:  # the library raises several kinds
            wrong = str(error)
        if wrong:
            raise UsageError(f"response_format: {wrong.splitlines()[0][:200]}")
        self._size = size

    def allowed(self) -> Tensor:
        """(V,) bool: what may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._size].astype(bool))

    def take(self, token: int) -> None:
        """This token came."""
        if not self._matcher.consume_token(token):
            raise UsageError(f"response_format: {self._matcher.get_error()}")

    @property
    def ended(self) -> bool:
        """Whether the answer is whole."""
        return self._matcher.is_stopped()


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
