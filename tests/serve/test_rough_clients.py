"""What is wrong with one request, or with its sender, costs nobody else anything."""

import asyncio
import json
import threading

import pytest
import torch

pytest.importorskip("fastapi")
from models_to_serve import saved
from starlette.testclient import TestClient

import blockyard as by
from blockyard.decode.continuous import Request
from blockyard.serve.app import make_app
from blockyard.serve.engine import Ended, Engine
from blockyard.serve.limits import Limits

LIMITS = Limits(rows=2, waiting=2, tokens=200, arrival=1)
LETTER = "\ud800"  # half a character


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.fixture
def client(folder):
    engine = Engine("llama", folder, LIMITS)
    app = make_app({"llama": engine}, LIMITS)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.engine = engine
        yield client


def asked(**change):
    return {"model": "llama", "prompt": "abc", "max_tokens": 3, "temperature": 0, **change}


def talk(**change):
    return {"model": "llama", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, **change}


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def by_hand(engine, tokens, **more):
    return Request(torch.tensor(engine.words.prompt("abc")), tokens, **more)


def test_half_a_character_in_a_role_is_told_in_whole_ones(client):
    body = json.dumps(talk(messages=[{"role": LETTER, "content": "x"}]))
    told = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert told.status_code == 400 and "who is ?" in told.json()["error"]["message"]


def test_a_megabyte_of_wrong_elements_is_one_mistake():
    from blockyard.serve.asked import Chat, Completion

    for kind, body in [
        (Completion, asked(prompt=[1] * 999 + [None] * 999)),
        (Completion, asked(prompt=[[None] * 999] * 9)),
        (Completion, asked(stop=[None] * 999)),
        (Chat, talk(messages=[{}] * 999)),
        (Chat, talk(messages=[{"role": "user", "content": [1] * 999}])),
    ]:
        with pytest.raises(ValueError) as wrong:
            kind(**body)
        assert len(wrong.value.errors()) < 10


def test_a_refused_stream_has_its_status(client):
    told = client.post("/v1/completions", json=asked(n=5, stream=True))
    assert told.status_code == 400 and "at most 4" in told.json()["error"]["message"]  # waiting would not help
    client.engine.limits = Limits(rows=1, waiting=0)
    client.engine.streams[by_hand(client.engine, 1)] = None
    told = client.post("/v1/completions", json=asked(stream=True))
    client.engine.streams.clear()
    assert told.status_code == 429 and told.headers["retry-after"] == "1"


def test_options_of_a_stream_come_with_one(client):
    told = client.post("/v1/completions", json=asked(stream_options={"include_usage": True}))
    assert told.status_code == 400 and "stream_options" in told.json()["error"]["message"]
    told = client.post("/v1/completions", json=asked(max_tokens=10**300))
    assert told.status_code == 400 and len(told.text) < 300


def test_who_may_not_come_in_leaves_no_names(folder):
    with TestClient(make_app({"llama": Engine("llama", folder, LIMITS)}, LIMITS, ["clé"])) as client:
        assert client.get("/invented").status_code == 401
        right = {"Authorization": "Bearer clé".encode()}
        told = client.get("/metrics", headers=right)
        assert told.status_code == 200 and "invented" not in told.text


def test_a_body_that_never_comes_is_told_so(client):
    app, sent = client.app, []
    headers = [(b"content-length", b"9"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers, "query_string": b""}

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408


def test_a_form_that_no_text_has_ends_its_request_alone(client):
    pytest.importorskip("llguidance")
    for schema, says in [
        ({"$ref": "#"}, "nothing may come next by this schema"),
        ({"enum": ["x" * 70_000]}, "at most 65536 characters"),
    ]:
        told = client.post("/v1/chat/completions", json=talk(response_format=form(schema))).json()["error"]
        assert says in told["message"] and len(told["message"]) < 300


def test_several_answers_by_a_schema_each_have_their_own_place(client):
    pytest.importorskip("llguidance")
    wanted = form({"enum": ["red", "green", "blue", "yellow"]})
    told = client.post("/v1/chat/completions", json=talk(response_format=wanted, n=4, seed=1, temperature=3.0))
    texts = [json.loads(each["message"]["content"]) for each in told.json()["choices"]]
    assert len(set(texts)) > 1 and set(texts) <= {"red", "green", "blue", "yellow"}


class Broken:
    """A guide that has nothing to allow after two tokens."""

    ended = False
    taken = 0

    def allowed(self):
        if self.taken == 2:
            raise by.UsageError("nothing is allowed")
        return torch.ones(256, dtype=torch.bool)

    def take(self, token):
        self.taken += 1


def test_a_guide_that_fails_fails_its_request(folder):
    engine = Engine("llama", folder, LIMITS)
    engine.start()

    async def tokens(stream):
        return [token.token async for token in stream]

    async def scene():
        good, bad = engine.ask([by_hand(engine, 9), by_hand(engine, 9, guide=Broken())])
        told = await asyncio.gather(tokens(good), tokens(bad), return_exceptions=True)
        assert len(told[0]) == 9 and isinstance(told[1], Ended) and "nothing is allowed" in str(told[1])

    asyncio.run(scene())
    engine.stop()


def test_nothing_that_a_request_does_ends_the_thread(folder, monkeypatch):
    engine = Engine("llama", folder, LIMITS)
    monkeypatch.setattr(type(engine.batch), "cancel", lambda self, request: 1 / 0)
    engine.start()

    async def scene():
        (stream,) = engine.ask([by_hand(engine, 190)])
        stream.close()
        with pytest.raises(Ended, match="the model failed"):
            async for _ in stream:
                pass
        assert engine.alive and not engine.streams
        engine._add(stream)  # it was told already: no row may run for it
        assert not engine.batch.busy

    asyncio.run(scene())
    engine.stop()

    async def after():
        with pytest.raises(Ended, match="going down"):
            engine.ask([by_hand(engine, 3)])
        with pytest.raises(Ended, match="going down"):
            await engine.embedding(torch.tensor([1]))

    asyncio.run(after())


def test_embeddings_are_made_by_the_thread_that_runs_the_model(client, monkeypatch):
    threads, forward = set(), type(client.engine.model).forward

    def noted(self, *args, **kwargs):
        threads.add(threading.current_thread().name)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(client.engine.model), "forward", noted)
    assert client.post("/v1/embeddings", json={"model": "llama", "input": ["a", "bc"]}).status_code == 200
    assert threads == {"blockyard llama"}


def test_weights_that_are_no_numbers_are_told(client):
    with torch.no_grad():
        next(client.engine.model.parameters()).fill_(torch.nan)
    told = client.post("/v1/embeddings", json={"model": "llama", "input": "a"})
    assert told.status_code == 400 and "NaN" in told.json()["error"]["message"]
    told = client.post("/v1/completions", json=asked())
    assert told.status_code == 503 and "NaN" in told.json()["error"]["message"]
    assert client.engine.batch.store.nbytes < 10_000


def test_tokens_that_are_half_a_character_are_told_by_their_bytes(client):
    from blockyard.serve.told import Form

    shown = Form("x", "llama", client.engine.words, chat=True)
    assert shown._one(0xE2, -1.0) == {"token": "bytes:\\xe2", "logprob": -1.0, "bytes": [0xE2]}
    assert shown._one(97, -1.0) == {"token": "a", "logprob": -1.0, "bytes": [97]}
    assert client.engine.words.decode([97, 300, 98]) == "ab"  # a model may have spare ids


def test_who_says_no_length_gets_what_there_are_positions_for(tmp_path):
    folder = saved(tmp_path / "gpt2", "gpt2")
    engine = Engine("gpt2", folder, Limits(tokens=100_000))
    known = engine.model.axes["stem.position.length"].size
    with TestClient(make_app({"gpt2": engine}, engine.limits), raise_server_exceptions=False) as client:
        prompt = [5] * (known - 2)
        talk = {"model": "gpt2", "prompt": prompt, "temperature": 0}
        told = client.post("/v1/completions", json=talk).json()
        assert told.get("usage", told).get("completion_tokens") == 3, told
        told = client.post("/v1/completions", json={**talk, "max_tokens": 4})
        assert told.status_code == 400 and f"up to {known + 1}" in told.json()["error"]["message"]
        told = client.post("/v1/embeddings", json={"model": "gpt2", "input": [5] * (known + 1)})
        assert told.status_code == 400 and f"from 1 to {known} tokens" in told.json()["error"]["message"]


def test_who_hangs_up_on_a_whole_answer_leaves_no_row_and_no_error(folder):
    """Nor one who leaves before the first event of a stream."""
    engine = Engine("llama", folder, Limits(tokens=100_000))
    app = make_app({"llama": engine}, engine.limits)
    engine.start()

    async def call(stream):
        body = json.dumps(asked(max_tokens=90_000, stream=stream)).encode()
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers, "query_string": b"",
                 "asgi": {"spec_version": "2.3"}}  # fmt: skip
        coming = [{"type": "http.request", "body": body, "more_body": False}]
        sent = []

        async def receive():
            return coming.pop() if coming else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        async with asyncio.timeout(20):
            while engine.streams:
                await asyncio.sleep(0.01)
        return sent[0]["status"] if sent else None

    async def scene():
        assert await call(False) == 499
        await call(True)

    asyncio.run(scene())
    engine.stop()
