"""The server: routes, keys, limits, logs. OpenAI's interface under /v1, /health, /ready, /metrics; the page at /.

A mistake of the client is a JSON error in a line, with the status that its library expects; one of ours is a 500 that
says no more than where to look. No text of a prompt or an answer is written to the log.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import blockyard
from blockyard.core.errors import UsageError
from blockyard.serve import told
from blockyard.serve.answer import Answer, Call, prompts_of
from blockyard.serve.asked import Chat, Completion, Embedding
from blockyard.serve.engine import Busy, Ended, Engine
from blockyard.serve.limits import Limits
from blockyard.serve.metrics import Metrics
from blockyard.serve.pages import SHOWN, add_pages
from blockyard.serve.reports import Reports

LOG = logging.getLogger("blockyard.serve")
# in /openapi.json: what an answer that is none looks like, and that an answer may come piece by piece
REFUSED: dict[int | str, dict[str, Any]] = {
    each: {"model": told.Refusal, "description": "what was wrong, in a line"} for each in ("4XX", "5XX")
}
PIECES: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
OPEN = ("/health", "/ready", "/")  # to everybody; the page by itself says nothing of any model


def make_app(
    engines: Mapping[str, Engine], limits: Limits, keys: Sequence[str] = (), reports: Reports | None = None
) -> FastAPI:
    """The application that answers for these engines; with `keys`, only to who brings one. Its page lists `reports`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for engine in engines.values():
            engine.start()
        yield
        for engine in engines.values():
            await asyncio.to_thread(engine.stop)

    app = FastAPI(
        title="blockyard", version=blockyard.__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        responses=REFUSED,
    )  # fmt: skip
    metrics = Metrics(engines.values())
    app.state.metrics = metrics
    _errors(app)
    _health(app, engines, metrics)
    _writing(app, engines, metrics)
    add_pages(app, engines, reports)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(_Door, limits=limits, keys=tuple(keys), metrics=metrics, paths=paths)
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def wrong_field(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"][1:]) or "the request"
        return _refused(400, f"{place}: {first['msg']}", param=place)

    @app.exception_handler(UsageError)
    async def wrong(_: Request, error: UsageError) -> Response:
        return _refused(400, str(error))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> Response:
        return _refused(429, str(error), "rate_limit_error", headers={"Retry-After": "1"})

    @app.exception_handler(Ended)
    async def ended(_: Request, error: Ended) -> Response:
        return _refused(503, str(error), "server_error")

    @app.exception_handler(HTTPException)
    async def nowhere(request: Request, error: HTTPException) -> Response:
        return _refused(
            error.status_code, f"{request.method} {request.url.path}: {error.detail}", headers=error.headers
        )

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        return _refused(500, "the server failed; its log says how", "server_error")


def _refused(
    status: int, message: str, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:  # fmt: skip
    return JSONResponse(told.error(message, kind, param, code), status, headers)


def _health(app: FastAPI, engines: Mapping[str, Engine], metrics: Metrics) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether this process lives."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        """Whether every model answers."""
        asleep = [name for name, engine in engines.items() if not engine.alive]
        if asleep:
            return _refused(503, f"{', '.join(asleep)} does not answer", "server_error")
        return JSONResponse({"status": "ready", "models": list(engines)})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def figures() -> Response:
        """What Prometheus asks for."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The models by name."""
        return {"object": "list", "data": [told.model(e.name, e.made, e.base) for e in engines.values()]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        """One model."""
        if name not in engines:
            return _unknown(name, engines)
        engine = engines[name]
        return JSONResponse(told.model(engine.name, engine.made, engine.base))


def _unknown(name: str, engines: Mapping[str, Engine]) -> JSONResponse:
    known = ", ".join(engines)
    return _refused(404, f"unknown model {name!r}; known: {known}", param="model", code="model_not_found")


def _writing(app: FastAPI, engines: Mapping[str, Engine], metrics: Metrics) -> None:
    async def answer(request: Request, asked: Completion | Chat) -> Response:
        if asked.model not in engines:
            return _unknown(asked.model, engines)
        call = await asyncio.to_thread(Call, engines[asked.model], asked)
        if asked.stream:
            return _Stream(call, metrics)
        whole = await call.whole(_gone(request))
        if whole is None:
            return Response(status_code=499)  # for the log: nobody reads it
        _counted(call, metrics)
        return JSONResponse(whole)

    @app.post("/v1/completions", responses=PIECES)
    async def completions(request: Request, asked: Completion) -> Response:
        """Go on with texts."""
        return await answer(request, asked)

    @app.post("/v1/chat/completions", responses=PIECES)
    async def chat(request: Request, asked: Chat) -> Response:
        """Go on with a conversation, by the template of the model's folder."""
        return await answer(request, asked)

    @app.post("/v1/embeddings")
    async def embeddings(asked: Embedding) -> Response:
        """The mean last states of texts, of length 1."""
        if asked.model not in engines:
            return _unknown(asked.model, engines)
        engine = engines[asked.model]
        rows = await asyncio.to_thread(prompts_of, engine, asked.input)
        if not all(rows) or max(map(len, rows)) > engine.longest:
            raise UsageError(f"input: each text has from 1 to {engine.longest} tokens")
        found = [await engine.embedding(torch.tensor(ids)) for ids in rows]
        count, packed = sum(map(len, rows)), asked.encoding_format == "base64"
        metrics.tokens.labels(engine.name, "read").inc(count)
        return JSONResponse(told.embeddings(found, engine.name, count, packed))


def _gone(request: Request) -> Callable[[], Awaitable[None]]:
    async def gone() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.2)

    return gone


class _Stream(StreamingResponse):
    """An answer as it comes; it is asked for here, so that a refusal has its status."""

    def __init__(self, call: Call, metrics: Metrics) -> None:
        self.call, self.answers = call, call.ask()
        super().__init__(_events(call, self.answers, metrics), media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # whoever leaves before the first event never begins to read them
            self.call.close(self.answers)


async def _events(call: Call, answers: Sequence[Answer], metrics: Metrics) -> AsyncIterator[bytes]:
    """Server-sent events, closed with [DONE]; what goes wrong on the way is an event too."""
    try:
        async for piece in call.pieces(answers):
            yield b"data: " + json.dumps(piece, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
        yield b"data: [DONE]\n\n"
    except (Ended, UsageError) as error:
        yield b"data: " + json.dumps(told.error(str(error), "server_error")).encode() + b"\n\n"
    finally:
        _counted(call, metrics)


def _counted(call: Call, metrics: Metrics) -> None:
    name, usage = call.engine.name, call.usage
    for kind, count in (("read", usage.prompt - usage.cached), ("found", usage.cached), ("written", usage.written)):
        metrics.tokens.labels(name, kind).inc(count)
    if call.first is not None:
        metrics.first.labels(name).observe(call.first)
        metrics.whole.labels(name).observe(time.monotonic() - call.begun)


class _Door:
    """Who may come in, and with how much; one line of the log for each request."""

    def __init__(
        self, app: ASGIApp, limits: Limits, keys: tuple[str, ...], metrics: Metrics, paths: frozenset[str]
    ) -> None:  # fmt: skip
        self.app, self.limits, self.metrics, self.paths = app, limits, metrics, paths
        self.keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            answer = self._refusal(scope) or await self._body(receive)
            if isinstance(answer, bytes):
                await self.app(scope, _again(answer, receive), sent)
            else:
                await answer(scope, receive, sent)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "elsewhere"  # whoever may not come in names any
            path = "/ui" if scope["path"].startswith("/ui/") else path  # one counter: there are as many as systems
            self.metrics.requests.labels(path, str(status)).inc()
            seconds = round(time.monotonic() - begun, 4)
            line = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": seconds}
            LOG.info(json.dumps(line))

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self.keys and scope["path"] not in OPEN and not scope["path"].startswith(SHOWN):
            kind, _, key = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not any(secrets.compare_digest(key, each) for each in self.keys):
                return _refused(401, "this server asks for a key: Authorization: Bearer KEY", code="invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.body:
            return self._too_large()
        return None

    def _too_large(self) -> JSONResponse:
        return _refused(413, f"a request has at most {self.limits.body} bytes", code="request_too_large")

    async def _body(self, receive: Receive) -> bytes | JSONResponse:
        """All of the request, within the time and size that there is for it."""
        found = bytearray()
        try:
            async with asyncio.timeout(self.limits.arrival):
                while True:
                    message = await receive()
                    found += message.get("body", b"")
                    if len(found) > self.limits.body:
                        return self._too_large()
                    if not message.get("more_body"):  # all of it, or the client has gone
                        return bytes(found)
        except TimeoutError:
            return _refused(408, "the request did not arrive in time", code="timeout")


def _again(body: bytes, receive: Receive) -> Receive:
    """What was read already, then what comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
