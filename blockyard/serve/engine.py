"""A model that answers many at once: one thread turns its batch, streams hand on what it tells.

    engine = Engine("mine", "runs/mine:llama", Limits())
    stream = engine.ask(request)                  from any thread with a running loop
    async for token in stream: ...
    stream.close()                                nobody listens any more

A request whose time is over, or that nobody listens to, leaves the batch before the next token. An error of the model
ends the requests that it concerns, and no others.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.decode.continuous import Continuous, Request, Token, check
from blockyard.decode.prefix import PrefixStore
from blockyard.interop.defaults import Defaults, generation_defaults
from blockyard.model.find import find_model
from blockyard.saved.open import open_model
from blockyard.serve.limits import Limits

LOG = logging.getLogger("blockyard.serve")


class Busy(Exception):
    """As many requests wait as may."""


class Ended(Exception):
    """A request that ended without an answer, with the reason."""


class Stream:
    """What one request is told, for one listener in an event loop."""

    def __init__(self, request: Request, close: Callable[["Stream"], None], deadline: float) -> None:
        self.request, self.deadline, self._close = request, deadline, close
        self.known = 0  # tokens of the prompt that were not read again
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Token | Ended] = asyncio.Queue()

    def tell(self, what: Token | Ended) -> None:
        """From the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is gone, and the listener with it
            self._loop.call_soon_threadsafe(self._told.put_nowait, what)

    def close(self) -> None:
        """Nobody listens any more."""
        self._close(self)

    async def __aiter__(self) -> AsyncIterator[Token]:
        while True:
            told = await self._told.get()
            if isinstance(told, Ended):
                raise told
            yield told
            if told.end is not None:
                return


class Engine:
    """One model under a name."""

    def __init__(self, name: str, folder: str, limits: Limits) -> None:
        self.name, self.limits, self.made = name, limits, int(time.time())
        self.model, self.words = open_model(folder)
        self.said: Defaults = generation_defaults(find_model(folder))
        self.streams: dict[Request, Stream] = {}
        self._inbox: list[tuple[str, Stream]] = []
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"blockyard {name}", daemon=True)
        self._begin()

    def _begin(self) -> None:
        store = PrefixStore(self.model, bytes=self.limits.store) if self.limits.store else None
        self.batch = Continuous(self.model, self.limits.rows, store=store)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present turn; whoever still waits is told."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive()

    @property
    def counts(self) -> tuple[int, int]:
        """Requests that run, and that wait."""
        running = len(self.batch.running)
        return running, max(0, len(self.streams) - running)

    def ask(self, requests: list[Request]) -> list[Stream]:
        """Streams of all of them or of none: `Busy` where too many wait, UsageError where one cannot be answered."""
        for request in requests:
            check(self.model, request)
        with self._wake:
            if self._closing:
                raise Busy("the server is going down")
            if len(self.streams) + len(requests) > self.limits.rows + self.limits.waiting:
                raise Busy(f"{len(self.streams)} requests run and wait; ask again later")
            deadline = time.monotonic() + self.limits.seconds
            streams = [Stream(request, self._hang_up, deadline) for request in requests]
            self.streams |= {stream.request: stream for stream in streams}
            self._inbox += [("add", stream) for stream in streams]
            self._wake.notify()
        return streams

    def _hang_up(self, stream: Stream) -> None:
        with self._wake:
            if stream.request in self.streams:
                self._inbox.append(("cancel", stream))
                self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._inbox or self._closing or self.batch.busy):
                    self._wake.wait()
                inbox, self._inbox = self._inbox, []
                if self._closing:
                    break
            for act, stream in inbox:
                self._take(act, stream)
            self._late()
            self._turn()
        for stream in list(self.streams.values()):
            self._end(stream, Ended("the server went down"))

    def _take(self, act: str, stream: Stream) -> None:
        if act == "cancel":
            self.batch.cancel(stream.request)
            self.streams.pop(stream.request, None)
            return
        try:
            self.batch.add(stream.request)
        except UsageError as error:
            self._end(stream, Ended(str(error)))

    def _late(self) -> None:
        now = time.monotonic()
        for stream in [each for each in self.streams.values() if each.deadline < now]:
            self.batch.cancel(stream.request)
            self._end(stream, Ended(f"not answered within {self.limits.seconds} seconds"))

    def _turn(self) -> None:
        try:
            told = self.batch.turn()
        except Exception as error:  # the model's own: nobody's request is left without a word, and the next ones go on
            LOG.exception("%s: a turn failed", self.name)
            why = str(error) if isinstance(error, UsageError) else "the model failed; the server's log says how"
            for stream in list(self.streams.values()):
                self._end(stream, Ended(why))
            self._begin()
            return
        for token in told:
            stream = self.streams.get(token.request)
            if stream is not None:
                stream.tell(token)
                if token.end is not None:
                    self.streams.pop(token.request, None)

    def _end(self, stream: Stream, why: Ended) -> None:
        self.streams.pop(stream.request, None)
        stream.tell(why)

    @torch.no_grad()
    def embedding(self, ids: Tensor) -> list[float]:
        """The mean of the last states of a text, of length 1."""
        hidden = self.model(ids[None]).hidden[0].float().mean(0)
        return (hidden / hidden.norm().clamp(min=1e-12)).tolist()
