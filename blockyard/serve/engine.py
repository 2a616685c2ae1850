"""A model that answers many at once: one thread turns its batch, streams hand on what it tells.

    engine = Engine("mine", "runs/mine:llama", Limits())
    adapted = Engine("mine-too", "my-adapter", Limits(), base=engine)     in the memory of the other's model
    stream = engine.ask(request)                  from any thread with a running loop
    async for token in stream: ...
    stream.close()                                nobody listens any more

A request whose time is over, or that nobody listens to, leaves the batch before the next token. What is wrong with one
request ends that one; where the model fails, all that are there are told, and the next ones go on. Nobody but the
thread touches the model and the batch: embeddings are asked of it too, and it makes one between two turns.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.decode.continuous import Continuous, Failed, Request, Token, check
from blockyard.decode.prefix import PrefixStore
from blockyard.decode.rules import sound
from blockyard.interop.defaults import Defaults, generation_defaults
from blockyard.saved.open import open_adapter, open_model
from blockyard.serve.drafts import Drafts
from blockyard.serve.limits import Limits

LOG = logging.getLogger("blockyard.serve")
OURS = "the model failed; the server's log says how"


# models take turns: a turn sets the number of threads, and may record a model's operations, for the whole process
TURNS = threading.Lock()


class Busy(Exception):
    """As many requests wait as may."""


class Ended(Exception):
    """A request that ended without an answer, with the reason."""


class Stream:
    """What one request is told, for one listener in an event loop."""

    def __init__(self, request: Request, close: Callable[["Stream"], None], deadline: float) -> None:
        self.request, self.deadline, self._close = request, deadline, close
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Token | Ended] = asyncio.Queue()

    def tell(self, what: Token | Ended) -> None:
        """From the engine's thread."""
        with suppress(RuntimeError):  # the loop is gone, and the listener with it
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

    def __init__(
        self, name: str, folder: str, limits: Limits, *, base: "Engine | None" = None, drafts: Drafts | None = None
    ) -> None:
        """`base`: whose model the adapter in the folder goes onto; `drafts`: who guesses ahead."""
        self.name, self.folder, self.limits, self.made = name, folder, limits, int(time.time())
        self.base = None if base is None else base.name
        opened = open_model(folder) if base is None else open_adapter(folder, base.folder, base.model, base.words)
        self.model, self.words = opened
        self.said: Defaults = generation_defaults(Path(self.words.where))
        learned = self.model.axes.get("stem.position.length")
        self.longest = limits.tokens if learned is None else min(limits.tokens, learned.size - self.model.lead)  # read
        self.room = min(limits.tokens, self.longest + 1)  # with the answer, whose last token is not read
        self.speculation = None if drafts is None else drafts.speculation(name, self.model, self.longest)
        self.streams: dict[Request, Stream] = {}  # this and the next two: under the lock of `_wake`
        self._inbox: list[tuple[Callable[[Stream], None], Stream]] = []
        self._texts: deque[tuple[Tensor, Future[list[float]]]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"blockyard {name}", daemon=True)
        self._begin()

    def _begin(self) -> None:
        store = PrefixStore(self.model, bytes=self.limits.store) if self.limits.store else None
        self.batch = Continuous(self.model, self.limits.rows, store=store, speculation=self.speculation)

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
        most = self.limits.rows + self.limits.waiting
        if len(requests) > most:
            raise UsageError(f"{len(requests)} answers at once: this server takes on at most {most}")
        for request in requests:
            check(self.model, request)
        with self._wake:
            self._open(len(self.streams) + len(requests), most)
            deadline = time.monotonic() + self.limits.seconds
            streams = [Stream(request, self._hang_up, deadline) for request in requests]
            self.streams |= {stream.request: stream for stream in streams}
            self._inbox += [(self._add, stream) for stream in streams]
            self._wake.notify()
        return streams

    async def embedding(self, ids: Tensor) -> list[float]:
        """The mean of the last states of a text, of length 1."""
        future: Future[list[float]] = Future()
        with self._wake:
            self._open(len(self._texts) + 1, self.limits.rows + self.limits.waiting)
            self._texts.append((ids, future))
            self._wake.notify()
        return await asyncio.wrap_future(future)

    def _open(self, wanted: int, most: int) -> None:
        """Refuse what comes too late, or as one too many."""
        if self._closing:
            raise Ended("the server is going down")
        if wanted > most:
            raise Busy(f"{most} requests at most run and wait; ask again later")

    def _hang_up(self, stream: Stream) -> None:
        with self._wake:
            if stream.request in self.streams:
                self._inbox.append((self._cancel, stream))
                self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._inbox or self._texts or self._closing or self.batch.busy):
                    self._wake.wait()
                inbox, self._inbox = self._inbox, []
                text = self._texts.popleft() if self._texts else None
                if self._closing:
                    break
            try:
                for act, stream in inbox:
                    act(stream)
                self._late()
                self._turn()
            except Exception:  # nobody's request is left without a word, and the next ones go on
                LOG.exception("%s: a turn failed", self.name)
                self._begin()  # before anybody is told: who asks again at once finds the new batch
                self._all(Ended(OURS))
            if text is not None:
                self._embed(*text)
        gone = Ended("the server went down")
        self._all(gone)
        for _, future in [*([text] if text else []), *self._texts]:
            if future.set_running_or_notify_cancel():
                future.set_exception(gone)

    def _add(self, stream: Stream) -> None:
        if stream.request not in self.streams:  # it was told meanwhile that the model failed
            return
        try:
            self.batch.add(stream.request)
        except UsageError as error:
            self._end(stream.request, Ended(str(error)))

    def _cancel(self, stream: Stream) -> None:
        self.batch.cancel(stream.request)
        self._end(stream.request, Ended("nobody listens"))

    def _late(self) -> None:
        now = time.monotonic()
        with self._wake:
            late = [each.request for each in self.streams.values() if each.deadline < now]
        for request in late:
            self.batch.cancel(request)
            self._end(request, Ended(f"not answered within {self.limits.seconds} seconds"))

    def _turn(self) -> None:
        try:
            with TURNS:
                told = self.batch.turn()
        except Failed as error:
            self._end(error.request, Ended(str(error)))
            return
        for token in told:
            self._tell(token.request, token, last=token.end is not None)

    def _tell(self, request: Request, what: Token | Ended, *, last: bool) -> None:
        with self._wake:
            stream = self.streams.pop(request, None) if last else self.streams.get(request)
        if stream is not None:
            stream.tell(what)

    def _end(self, request: Request, why: Ended) -> None:
        self._tell(request, why, last=True)

    def _all(self, why: Ended) -> None:
        with self._wake:
            told = list(self.streams)
        for request in told:
            self._end(request, why)

    def _embed(self, ids: Tensor, future: "Future[list[float]]") -> None:
        if not future.set_running_or_notify_cancel():  # nobody waits for it
            return
        try:
            with TURNS, torch.no_grad():
                hidden = self.model(ids[None]).hidden[0].float().mean(0)
            future.set_result((hidden / sound(hidden.norm()).clamp(min=1e-12)).tolist())
        except UsageError as error:
            future.set_exception(error)
        except Exception:
            LOG.exception("%s: an embedding failed", self.name)
            future.set_exception(Ended(OURS))
