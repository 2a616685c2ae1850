"""Answers in the shapes of OpenAI's interface."""

import base64
import struct
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from blockyard.decode.continuous import Token
from blockyard.interop.tokenizer import Tokenizer

Json = dict[str, Any]


class Wrong(BaseModel):
    """What was wrong, in a line."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Refusal(BaseModel):
    """The body of every answer that is none."""

    error: Wrong


class Usage:
    """Tokens that were read and written."""

    def __init__(self) -> None:
        self.prompt = self.cached = self.written = 0

    def to_json(self) -> Json:
        return {
            "prompt_tokens": self.prompt, "completion_tokens": self.written, "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }  # fmt: skip


class Form:
    """Completions or conversations: how pieces and wholes of them look."""

    def __init__(self, name: str, model: str, words: Tokenizer, chat: bool) -> None:
        self.chat, self.words, self.begun = chat, words, False
        kind = "chat.completion" if chat else "text_completion"
        self.head = {"id": name, "created": int(time.time()), "model": model}
        self.kinds = kind, f"{kind}.chunk" if chat else kind

    def piece(self, index: int, text: str, token: Token, first: bool, told: bool, offset: int) -> Json:
        """One event of a stream; `told`: with log-probabilities; `offset` of the text in its answer."""
        choice: Json = {"index": index, "finish_reason": token.end, "logprobs": None}
        if told:
            choice["logprobs"] = self.logprobs([token], [offset])
        if self.chat:
            choice["delta"] = ({"role": "assistant"} if first else {}) | ({"content": text} if text or first else {})
        else:
            choice["text"] = text
        return {**self.head, "object": self.kinds[1], "choices": [choice]}

    def end(self, usage: Usage) -> Json:
        """The last event, with what was used."""
        return {**self.head, "object": self.kinds[1], "choices": [], "usage": usage.to_json()}

    def whole(self, answers: Sequence[tuple[str, list[Token], list[int]]], told: bool, usage: Usage) -> Json:
        """All answers, each with its text, tokens and offsets."""
        choices = []
        for index, (text, tokens, offsets) in enumerate(answers):
            choice: Json = {"index": index, "finish_reason": tokens[-1].end, "logprobs": None}
            if told:
                choice["logprobs"] = self.logprobs(tokens, offsets)
            if self.chat:
                choice["message"] = {"role": "assistant", "content": text, "refusal": None}
            else:
                choice["text"] = text
            choices.append(choice)
        return {**self.head, "object": self.kinds[0], "choices": choices, "usage": usage.to_json()}

    def logprobs(self, tokens: Sequence[Token], offsets: Sequence[int]) -> Json:
        """The log-probabilities of tokens, before any rule."""
        if self.chat:
            return {
                "content": [
                    self._one(t.token, t.logprob) | {"top_logprobs": [self._one(*x) for x in t.top]} for t in tokens
                ]
            }
        return {
            "tokens": [self._text(t.token) for t in tokens], "token_logprobs": [t.logprob for t in tokens],
            "top_logprobs": [{self._text(i): p for i, p in t.top} for t in tokens], "text_offset": list(offsets),
        }  # fmt: skip

    def _text(self, token: int) -> str:
        """A token by itself; one that is no whole character by its bytes, so that no two are written alike."""
        raw = self.words.codec.decode_utf8([token])
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _one(self, token: int, logprob: float) -> Json:
        return {"token": self._text(token), "logprob": logprob, "bytes": [*self.words.codec.decode_utf8([token])]}


def model(name: str, made: int, base: str | None) -> Json:
    """A model, with when it was opened; an adapter with the name of the model that it is on."""
    found = {"id": name, "object": "model", "created": made, "owned_by": "blockyard"}
    return found if base is None else {**found, "parent": base}


def embeddings(found: Sequence[list[float]], model: str, tokens: int, packed: bool) -> Json:
    """Vectors as numbers, or as float32 in base64."""

    def written(vector: list[float]) -> Any:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector

    return {
        "object": "list", "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "data": [{"object": "embedding", "index": i, "embedding": written(v)} for i, v in enumerate(found)],
    }  # fmt: skip


def error(message: str, kind: str, param: str | None = None, code: str | None = None) -> Json:
    """What went wrong, in a line; half a character that somebody sent has no bytes of its own."""
    message = " ".join(message.split()).encode("utf-8", "replace").decode("utf-8")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
