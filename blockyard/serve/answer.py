"""From what was asked to what is told: prompts, streams, and their tokens as they come."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from blockyard.core.errors import UsageError
from blockyard.decode.continuous import Request, Token
from blockyard.saved.generate import going_on
from blockyard.serve.asked import Chat, Completion, Texts
from blockyard.serve.engine import Engine, Stream
from blockyard.serve.guides import SchemaGuide
from blockyard.serve.told import Form, Usage


@dataclass
class Answer:
    """One choice as it grows."""

    stream: Stream
    echo: str = ""
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def add(self, token: Token) -> str:
        """The new text with one more token."""
        new = (self.echo if not self.tokens else "") + (token.text or "")
        self.offsets.append(len(self.text) + (len(self.echo) if not self.tokens else 0))
        self.tokens.append(token)
        self.text += new
        return new


class Call:
    """One request to the server, of one or several prompts."""

    def __init__(self, engine: Engine, asked: Completion | Chat) -> None:
        """Whatever is wrong with it is a UsageError."""
        self.engine, self.asked, self.chat = engine, asked, isinstance(asked, Chat)
        self.usage, self.begun = Usage(), time.monotonic()
        self.first: float | None = None
        kind = "chatcmpl" if self.chat else "cmpl"
        self.form = Form(f"{kind}-{uuid.uuid4().hex}", engine.name, engine.words, self.chat)
        if isinstance(asked, Chat):
            text = engine.words.chat([message.plain() for message in asked.messages])
            prompts = [engine.words.encode(text, whole=False)]
            self.told, self.top = bool(asked.logprobs), asked.top_logprobs or 0
            if self.top and not self.told:
                raise UsageError("top_logprobs come with logprobs; set that to true or leave both out")
        else:
            prompts = prompts_of(engine, asked.prompt)
            self.told, self.top = asked.logprobs is not None, asked.logprobs or 0
            if asked.echo and self.told:
                raise UsageError("log-probabilities of an echoed prompt are not kept; leave out echo or logprobs")
        self.prompts = prompts
        self.requests = [self._request(ids, i) for ids in prompts for i in range(asked.n)]

    def _request(self, ids: list[int], number: int) -> Request:
        asked, engine = self.asked, self.engine
        if not ids:
            raise UsageError("the prompt is empty; give at least one token")
        room = engine.limits.tokens - len(ids)
        wanted = asked.max_completion_tokens if isinstance(asked, Chat) else None
        wanted = wanted if wanted is not None else asked.max_tokens
        if wanted is None:
            wanted = max(1, min(room, engine.said.tokens or (room if self.chat else 16)))
        if wanted > room:
            raise UsageError(
                f"{len(ids)} tokens and {wanted} new ones: this server answers up to {engine.limits.tokens}"
            )
        seed = uuid.uuid4().int >> 66  # who names no seed gets another text each time
        return Request(
            torch.tensor(ids), wanted, asked.rules(engine.said.params, seed), seed=number,
            stop=[*engine.said.stop, *asked.stops()], decode=going_on(engine.words.decode, ids), top=self.top,
            guide=self._guide(),
        )  # fmt: skip

    def _guide(self) -> SchemaGuide | None:
        schema = (
            self.asked.response_format and self.asked.response_format.schema_of()
            if isinstance(self.asked, Chat)
            else None
        )
        if schema is None:
            return None
        ends = tuple(each for each in self.engine.said.stop if isinstance(each, int))
        return SchemaGuide(self.engine.words, self.engine.model.axes["stem.vocab"].size, ends, schema)

    def ask(self) -> list[Answer]:
        """All of it is under way."""
        streams = self.engine.ask(self.requests)
        echoes = [""] * len(streams)
        if isinstance(self.asked, Completion) and self.asked.echo:
            echoes = [self.engine.words.decode(ids) for ids in self.prompts for _ in range(self.asked.n)]
        return [Answer(stream, echo) for stream, echo in zip(streams, echoes)]

    def count(self, answers: Sequence[Answer]) -> Usage:
        """What was used, now that all have ended."""
        self.usage.prompt = sum(map(len, self.prompts))
        self.usage.cached = sum(answer.stream.request.known for answer in answers[:: self.asked.n])
        self.usage.written = sum(len(answer.tokens) for answer in answers)
        return self.usage

    async def whole(self, gone: Callable[[], Any]) -> dict[str, Any]:
        """The answer in one piece; `gone` returns when nobody waits for it any more."""
        answers = self.ask()
        leaving = asyncio.ensure_future(gone())
        try:
            reading = asyncio.gather(*(self._read(answer) for answer in answers))
            done, _ = await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if reading not in done:
                reading.cancel()
                raise asyncio.CancelledError
            reading.result()
        finally:
            leaving.cancel()
            for answer in answers:
                answer.stream.close()
        return self.form.whole([(a.text, a.tokens, a.offsets) for a in answers], self.told, self.count(answers))

    async def _read(self, answer: Answer) -> None:
        async for token in answer.stream:
            self._seen()
            answer.add(token)

    async def pieces(self, answers: Sequence[Answer]) -> AsyncIterator[dict[str, Any]]:
        """The answer as it comes, all choices as they arrive."""
        told: asyncio.Queue[tuple[int, Token | BaseException | None]] = asyncio.Queue()

        async def listen(index: int, answer: Answer) -> None:
            try:
                async for token in answer.stream:
                    told.put_nowait((index, token))
                told.put_nowait((index, None))
            except Exception as error:
                told.put_nowait((index, error))

        listening = [asyncio.ensure_future(listen(i, answer)) for i, answer in enumerate(answers)]
        try:
            left = len(answers)
            while left:
                index, token = await told.get()
                if isinstance(token, BaseException):
                    raise token
                if token is None:
                    left -= 1
                    continue
                self._seen()
                answer = answers[index]
                first = not answer.tokens
                text = answer.add(token)
                if text or first or token.end or self.told:
                    yield self.form.piece(index, text, token, first, self.told, answer.offsets[-1])
            options = self.asked.stream_options
            usage = self.count(answers)
            if options is not None and options.include_usage:
                yield self.form.end(usage)
        finally:
            for task, answer in zip(listening, answers):
                task.cancel()
                answer.stream.close()

    def _seen(self) -> None:
        if self.first is None:
            self.first = time.monotonic() - self.begun


def prompts_of(engine: Engine, given: Texts) -> list[list[int]]:
    """The ids of prompts: texts, or ids as they are."""
    if isinstance(given, str):
        return [engine.words.prompt(given)]
    if not given:
        raise UsageError("the prompt is empty; give at least one text")
    if len(given) > 64:
        raise UsageError(f"{len(given)} prompts; give at most 64 at once")
    if all(isinstance(each, str) for each in given):
        return [engine.words.prompt(str(each)) for each in given]
    rows: Any = [given] if isinstance(given[0], int) else given
    size = engine.model.axes["stem.vocab"].size
    if any(not 0 <= each < size for row in rows for each in row):
        raise UsageError(f"token ids are whole numbers from 0 to {size - 1}")
    return [list(row) for row in rows]
