"""The server: routes, keys, limits, logs. OpenAI's interface under /v1, /health, /ready, /metrics.

A mistake of the client is a JSON error in a line, with the status that its library expects; one of ours is a 500 that
says no more than where to look. No text of a prompt or an answer is written to the log.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import blockyard
from blockyard.core.errors import UsageError
from blockyard.serve import told
from blockyard.serve.answer import Call, prompts_of
from blockyard.serve.asked import Chat, Completion, Embedding
from blockyard.serve.engine import Busy, Ended, Engine
from blockyard.serve.limits import Limits
from blockyard.serve.metrics import Metrics

LOG = logging.getLogger("blockyard.serve")
OPEN = ("/health", "/ready")  # to everybody


def make_app(engines: Mapping[str, Engine], limits: Limits, keys: Sequence[str] = ()) -> FastAPI:
    """The application that answers for these engines; with `keys`, only to who brings one."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for engine in engines.values():
            engine.start()
        yield
        for engine in engines.values():
            await asyncio.to_thread(engine.stop)

    app = FastAPI(title="blockyard", version=blockyard.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    metrics = Metrics(engines.values())
    app.state.metrics = metrics
    _errors(app)
    _health(app, engines, metrics)
    _writing(app, engines, metrics)
    app.add_middleware(_Door, limits=limits, keys=tuple(keys), metrics=metrics)
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

    @app.get("/metrics")
    async def figures() -> Response:
        """What Prometheus asks for."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The models by name."""
        return told.models({name: engine.made for name, engine in engines.items()})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        """One model."""
        if name not in engines:
            return _unknown(name, engines)
        return JSONResponse(told.models({name: engines[name].made})["data"][0])


def _unknown(name: str, engines: Mapping[str, Engine]) -> JSONResponse:
    known = ", ".join(engines)
    return _refused(404, f"unknown model {name!r}; known: {known}", param="model", code="model_not_found")


def _writing(app: FastAPI, engines: Mapping[str, Engine], metrics: Metrics) -> None:
    async def answer(request: Request, asked: Completion | Chat) -> Response:
        if asked.model not in engines:
            return _unknown(asked.model, engines)
        call = await asyncio.to_thread(Call, engines[asked.model], asked)
        if asked.stream:
            return StreamingResponse(_events(call, metrics), media_type="text/event-stream")
        whole = await call.whole(_gone(request))
        _counted(call, metrics)
        return JSONResponse(whole)

    @app.post("/v1/completions")
    async def completions(request: Request, asked: Completion) -> Response:
        """Go on with texts."""
        return await answer(request, asked)

    @app.post("/v1/chat/completions")
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
        if not all(rows) or max(map(len, rows)) > engine.limits.tokens:
            raise UsageError(f"input: each text has from 1 to {engine.limits.tokens} tokens")
        found = [await asyncio.to_thread(engine.embedding, torch.tensor(ids)) for ids in rows]
        count, packed = sum(map(len, rows)), asked.encoding_format == "base64"
        metrics.tokens.labels(engine.name, "read").inc(count)
        return JSONResponse(told.embeddings(found, engine.name, count, packed))


def _gone(request: Request) -> Callable[[], Any]:
    async def gone() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.2)

    return gone


async def _events(call: Call, metrics: Metrics) -> AsyncIterator[bytes]:
    """Server-sent events, closed with [DONE]; what goes wrong on the way is an event too."""
    try:
        answers = call.ask()
        async for piece in call.pieces(answers):
            yield b"data: " + json.dumps(piece, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
        yield b"data: [DONE]\n\n"
    except (Ended, Busy, UsageError) as error:
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

    def __init__(self, app: ASGIApp, limits: Limits, keys: tuple[str, ...], metrics: Metrics) -> None:
        self.app, self.limits, self.keys, self.metrics = app, limits, keys, metrics

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
            refusal = self._refusal(scope)
            body = b"" if refusal else await self._body(receive)
            if refusal is None and body is None:
                refusal = _refused(413, f"a request has at most {self.limits.body} bytes", code="request_too_large")
            if refusal is not None:
                await refusal(scope, receive, sent)
            else:
                await self.app(scope, _again(body or b"", receive), sent)
        except TimeoutError:
            await _refused(408, "the request did not arrive in time", code="timeout")(scope, receive, sent)
        finally:
            path = scope["path"] if status != 404 else "elsewhere"
            self.metrics.requests.labels(path, str(status)).inc()
            seconds = round(time.monotonic() - begun, 4)
            line = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": seconds}
            LOG.info(json.dumps(line))

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self.keys and scope["path"] not in OPEN:
            kind, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
            if kind.lower() != "bearer" or not any(secrets.compare_digest(key.encode(), k.encode()) for k in self.keys):
                return _refused(401, "this server asks for a key: Authorization: Bearer KEY", code="invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.body:
            return _refused(413, f"a request has at most {self.limits.body} bytes", code="request_too_large")
        return None

    async def _body(self, receive: Receive) -> bytes | None:
        """All of the request, within the time and size that there is for it; None where it is too large."""
        found = bytearray()
        async with asyncio.timeout(30):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return bytes(found)
                found += message.get("body", b"")
                if len(found) > self.limits.body:
                    return None
                if not message.get("more_body"):
                    return bytes(found)


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
