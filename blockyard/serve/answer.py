"""From what was asked to what is told: prompts, streams, and their tokens as they come."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from blockyard.core.errors import UsageError
from blockyard.decode.continuous import Request, Token
from blockyard.decode.text import going_on
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
        if asked.stream_options is not None and not asked.stream:
            raise UsageError("stream_options come with stream; set that to true or leave both out")
        guides = self._guides(len(prompts) * asked.n)
        self.requests = [self._request(ids, i, next(guides)) for ids in prompts for i in range(asked.n)]

    def _request(self, ids: list[int], number: int, guide: SchemaGuide | None) -> Request:
        asked, engine = self.asked, self.engine
        if not ids:
            raise UsageError("the prompt is empty; give at least one token")
        room = engine.room - len(ids)
        wanted = asked.max_completion_tokens if isinstance(asked, Chat) else None
        wanted = wanted if wanted is not None else asked.max_tokens
        if wanted is None:
            wanted = max(1, min(room, engine.said.tokens or (room if self.chat else 16)))
        if wanted > room:
            raise UsageError(f"{len(ids)} tokens and {wanted} new ones: this server answers up to {engine.room}")
        seed = uuid.uuid4().int >> 66  # who names no seed gets another text each time
        return Request(
            torch.tensor(ids), wanted, asked.rules(engine.said.params, seed), seed=number,
            stop=[*engine.said.stop, *asked.stops()], decode=going_on(engine.words.decode, ids), top=self.top,
            guide=guide,
        )  # fmt: skip

    def _guides(self, many: int) -> Iterator[SchemaGuide | None]:
        form = self.asked.response_format if isinstance(self.asked, Chat) else None
        schema = None if form is None else form.schema_of()
        if schema is None:
            return iter([None] * many)
        ends = tuple(each for each in self.engine.said.stop if isinstance(each, int))
        return iter(SchemaGuide.of(self.engine.words, self.engine.model.axes["stem.vocab"].size, ends, schema, many))

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

    async def whole(self, gone: Callable[[], Awaitable[None]]) -> dict[str, Any] | None:
        """The answer in one piece; None where `gone` returns before: nobody waits for it any more."""
        answers = self.ask()

        async def read() -> None:
            async for _ in self._tokens(answers):
                pass

        both = [asyncio.ensure_future(each) for each in (read(), gone())]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            self.close(answers)
        if both[0] not in done:
            return None
        both[0].result()
        return self.form.whole([(a.text, a.tokens, a.offsets) for a in answers], self.told, self.count(answers))

    async def pieces(self, answers: Sequence[Answer]) -> AsyncIterator[dict[str, Any]]:
        """The answer as it comes, all choices as they arrive."""
        async for index, text, token in self._tokens(answers):
            first = len(answers[index].tokens) == 1
            if text or first or token.end or self.told:
                yield self.form.piece(index, text, token, first, self.told, answers[index].offsets[-1])
        options = self.asked.stream_options
        usage = self.count(answers)
        if options is not None and options.include_usage:
            yield self.form.end(usage)

    def close(self, answers: Sequence[Answer]) -> None:
        """Nobody listens any more."""
        for answer in answers:
            answer.stream.close()

    async def _tokens(self, answers: Sequence[Answer]) -> AsyncIterator[tuple[int, str, Token]]:
        """Which answer grew, by which text and token."""
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
                if self.first is None:
                    self.first = time.monotonic() - self.begun
                yield index, answers[index].add(token), token
        finally:
            for task in listening:
                task.cancel()


def prompts_of(engine: Engine, given: Texts) -> list[list[int]]:
    """The ids of prompts: texts, or ids as they are."""
    if isinstance(given, str):
        return [engine.words.prompt(given)]
    if not given:
        raise UsageError("the prompt is empty; give at least one text")
    rows: Any = [given] if isinstance(given[0], int) else given
    if len(rows) > 64:
        raise UsageError(f"{len(rows)} prompts; give at most 64 at once")
    if isinstance(given[0], str):
        return [engine.words.prompt(each) for each in rows]
    size = engine.model.axes["stem.vocab"].size
    if any(not 0 <= each < size for row in rows for each in row):
        raise UsageError(f"token ids are whole numbers from 0 to {size - 1}")
    return [list(row) for row in rows]
