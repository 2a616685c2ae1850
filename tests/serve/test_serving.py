"""A server gives each request what it would get alone, and a line to whoever asks wrongly."""

import asyncio
import base64
import json
import logging
import struct
import time

import pytest
import torch

pytest.importorskip("fastapi")
from models_to_serve import saved
from starlette.testclient import TestClient

import blockyard as by
from blockyard.serve.app import make_app
from blockyard.serve.engine import Busy, Engine
from blockyard.serve.limits import Limits
from blockyard.serve.run import names_of


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: saved(root / name, name) for name in ("llama", "gla")}


LIMITS = Limits(rows=3, waiting=5, tokens=200, body=20_000)


@pytest.fixture(scope="module")
def client(folders):
    engines = {name: Engine(name, folder, LIMITS) for name, folder in folders.items()}
    with TestClient(make_app(engines, LIMITS), raise_server_exceptions=False) as client:
        client.engines = engines
        yield client


def offline(client, name, text, tokens, **rules):
    """What `generate` writes, and the tokens' log-probabilities."""
    engine = client.engines[name]
    ids = torch.tensor([engine.words.prompt(text)])
    steps = list(by.generate(engine.model, ids, tokens, by.SamplingParams(**{"temperature": 0, **rules})))
    return [int(s.tokens) for s in steps], [float(s.logprobs) for s in steps]


def text_of(client, name, tokens):
    return client.engines[name].words.decode(tokens)


def events(answer):
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines[:-1]]


@pytest.mark.parametrize("name", ["llama", "gla"])
def test_a_completion_is_the_offline_text(client, name):
    tokens, logprobs = offline(client, name, "Once upon", 12)
    asked = dict(model=name, prompt="Once upon", max_tokens=12, temperature=0, logprobs=2)
    told = client.post("/v1/completions", json=asked).json()
    (choice,) = told["choices"]
    assert choice["text"] == text_of(client, name, tokens) and choice["finish_reason"] == "length"
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(logprobs, abs=1e-4)
    assert len(choice["logprobs"]["top_logprobs"][0]) in (1, 2)  # two bytes may be written alike
    assert told["usage"]["prompt_tokens"] == 9 and told["usage"]["completion_tokens"] == 12
    streamed = events(
        client.post("/v1/completions", json={**asked, "stream": True, "stream_options": {"include_usage": True}})
    )
    assert "".join(e["choices"][0]["text"] for e in streamed[:-1]) == choice["text"]
    assert streamed[-1]["usage"]["total_tokens"] == 21 and not streamed[-1]["choices"]
    assert streamed[-2]["choices"][0]["finish_reason"] == "length"


def test_a_conversation_goes_through_the_template_and_its_past_is_known(client):
    asked = dict(model="gla", messages=[{"role": "user", "content": "hello"}], max_tokens=6, temperature=0)
    told = client.post("/v1/chat/completions", json=asked).json()
    message = told["choices"][0]["message"]
    tokens, _ = offline(client, "gla", "<user>hello\n<assistant>", 6)
    assert message == {"role": "assistant", "content": text_of(client, "gla", tokens), "refusal": None}
    pieces = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    again = client.post(
        "/v1/chat/completions", json={**asked, "messages": [{"role": "user", "content": pieces}]}
    ).json()
    assert again["choices"] == told["choices"]
    on = [*asked["messages"], {"role": "assistant", "content": "surely"}, {"role": "user", "content": "go on"}]
    told = client.post("/v1/chat/completions", json={**asked, "messages": on}).json()
    tokens, _ = offline(client, "gla", "<user>hello\n<assistant>surely\n<user>go on\n<assistant>", 6)
    assert told["choices"][0]["message"]["content"] == text_of(client, "gla", tokens)
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == len("<user>hello\n<assistant>")
    wrong = client.post("/v1/chat/completions", json={**asked, "messages": [{"role": "robot", "content": "x"}]})
    assert wrong.status_code == 400 and "who is robot" in wrong.json()["error"]["message"]


def test_choices_seeds_and_prompts(client):
    asked = dict(model="llama", prompt=["ab", "cd"], max_tokens=8, temperature=1.5, n=2, seed=3)
    first, second = (client.post("/v1/completions", json=asked).json()["choices"] for _ in range(2))
    assert first == second and len({c["text"] for c in first}) == 4 and [c["index"] for c in first] == [0, 1, 2, 3]
    free = [client.post("/v1/completions", json={**asked, "seed": None}).json()["choices"][0]["text"] for _ in range(3)]
    assert len(set(free)) > 1
    ids = client.engines["llama"].words.prompt("ab")
    by_ids = client.post("/v1/completions", json={**asked, "prompt": [ids, ids]}).json()["choices"]
    assert by_ids[0]["text"] == by_ids[2]["text"] == first[0]["text"]


def test_stops_and_echo(client):
    tokens, _ = offline(client, "llama", "x", 30)
    text = text_of(client, "llama", tokens)
    stop = text[7:9]
    asked = dict(model="llama", prompt="x", max_tokens=30, temperature=0, stop=stop, echo=True)
    (choice,) = client.post("/v1/completions", json=asked).json()["choices"]
    assert choice["text"] == "x" + text[: text.index(stop)] and choice["finish_reason"] == "stop"


SCHEMA = {
    "type": "object", "additionalProperties": False, "required": ["name", "ages"],
    "properties": {
        "name": {"enum": ["ann", "bob"]},
        "ages": {"type": "array", "minItems": 2, "maxItems": 3,
                 "items": {"type": "integer", "minimum": 0, "maximum": 99}},
    },
}  # fmt: skip


def test_an_answer_by_a_schema_is_by_the_schema(client):
    pytest.importorskip("llguidance")
    for seed in range(4):
        form = {"type": "json_schema", "json_schema": {"name": "people", "schema": SCHEMA}}
        asked = dict(model="llama", messages=[{"role": "user", "content": "who?"}], response_format=form, seed=seed)
        (choice,) = client.post("/v1/chat/completions", json={**asked, "max_tokens": 150, "temperature": 1}).json()[
            "choices"
        ]
        assert choice["finish_reason"] == "stop"
        found = json.loads(choice["message"]["content"])
        assert set(found) == {"name", "ages"} and found["name"] in ("ann", "bob") and 2 <= len(found["ages"]) <= 3
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    wrong = client.post("/v1/chat/completions", json={**asked, "response_format": bad})
    assert wrong.status_code == 400 and "response_format" in wrong.json()["error"]["message"]


def test_embeddings_are_mean_states(client):
    told = client.post("/v1/embeddings", json=dict(model="llama", input=["one text", "another"])).json()
    engine = client.engines["llama"]
    with torch.no_grad():
        hidden = engine.model(torch.tensor([engine.words.prompt("another")])).hidden[0].mean(0)
    assert told["data"][1]["embedding"] == pytest.approx((hidden / hidden.norm()).tolist(), abs=1e-6)
    packed = client.post("/v1/embeddings", json=dict(model="llama", input="another", encoding_format="base64")).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(told["data"][1]["embedding"], abs=1e-6)


WRONG = [
    ({"model": "lama"}, 404, "unknown model 'lama'; known: llama, gla"),
    ({"prompt": ""}, 400, "the prompt is empty"),
    ({"prompt": []}, 400, "the prompt is empty"),
    ({"prompt": [256]}, 400, "from 0 to 255"),
    ({"prompt": ["a"] * 65}, 400, "at most 64"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": 500}, 400, "this server answers up to 200"),
    ({"temperature": -1}, 400, "temperature"),
    ({"temperature": "hot"}, 400, "temperature"),
    ({"presence_penalty": 1.0}, 400, "presence_penalty"),
    ({"logit_bias": {"5": 1}}, 400, "logit_bias"),
    ({"nonsense": 1}, 400, "nonsense"),
    ({"stop": [""]}, 400, "at least one character"),
    ({"logprobs": 3, "echo": True}, 400, "echo"),
    ({"n": 17}, 400, "n:"),
    ({"n": 9}, 429, "ask again later"),
    ({"prompt": "\ud800"}, 400, ""),
]


@pytest.mark.parametrize("change, status, says", WRONG, ids=lambda x: str(x)[:40])
def test_a_wrong_request_gets_a_line(client, change, status, says):
    asked = {"model": "llama", "prompt": "abc", "max_tokens": 3, **change}
    told = client.post("/v1/completions", content=json.dumps(asked), headers={"content-type": "application/json"})
    assert told.status_code == status, told.text
    error = told.json()["error"]
    assert says in error["message"] and "\n" not in error["message"] and "Traceback" not in told.text


def test_what_is_no_request_at_all(client):
    for body, status in [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe\x00", 400),
        (b'{"a":1}' + b" " * 30_000, 413),
    ]:
        told = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
        assert told.status_code == status and told.json()["error"]["message"], body
    for method, path, status in [
        ("GET", "/v1/completions", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/models/none", 404),
    ]:
        told = client.request(method, path)
        assert told.status_code == status and told.json()["error"]["message"]


def test_health_models_and_figures(client):
    assert client.get("/health").json() == {"status": "ok"} and client.get("/ready").status_code == 200
    names = [each["id"] for each in client.get("/v1/models").json()["data"]]
    assert names == ["llama", "gla"] and client.get("/v1/models/gla").json()["id"] == "gla"
    client.post("/v1/completions", json=dict(model="gla", prompt="abcd", max_tokens=3))
    text = client.get("/metrics").text
    for line in (
        'blockyard_rows{model="gla",state="running"} 0.0',
        'blockyard_tokens_total{kind="written",model="gla"}',
    ):
        assert line in text
    assert 'blockyard_requests_total{path="/v1/completions",status="200"}' in text


def test_a_key_is_asked_for_and_nothing_said_is_logged(folders, caplog):
    engines = {"llama": Engine("llama", folders["llama"], LIMITS)}
    logging.getLogger("blockyard.serve").propagate = True
    with TestClient(make_app(engines, LIMITS, ["secret"])) as client, caplog.at_level(logging.INFO, "blockyard.serve"):
        assert client.get("/v1/models").status_code == 401 and client.get("/health").status_code == 200
        assert client.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        right = {"Authorization": "Bearer secret"}
        asked = dict(model="llama", prompt="a private text", max_tokens=2)
        assert client.post("/v1/completions", json=asked, headers=right).status_code == 200
    lines = [json.loads(r.message) for r in caplog.records if r.name == "blockyard.serve"]
    assert [line["status"] for line in lines] == [401, 200, 401, 200]
    assert lines[-1]["path"] == "/v1/completions" and "private" not in caplog.text and "secret" not in caplog.text


def test_a_failing_model_fails_its_requests_and_goes_on(folders, monkeypatch):
    engine = Engine("llama", folders["llama"], LIMITS)
    with TestClient(make_app({"llama": engine}, LIMITS), raise_server_exceptions=False) as client:
        asked = dict(model="llama", prompt="abc", max_tokens=3, temperature=0)
        good = client.post("/v1/completions", json=asked).json()["choices"]
        turn = type(engine.batch).turn
        monkeypatch.setattr(type(engine.batch), "turn", lambda self: 1 / 0)
        told = client.post("/v1/completions", json=asked)
        assert told.status_code == 503 and "division" not in told.text and "log" in told.json()["error"]["message"]
        monkeypatch.setattr(type(engine.batch), "turn", turn)
        assert client.post("/v1/completions", json=asked).json()["choices"] == good


def test_who_hangs_up_frees_the_row_and_who_is_late_is_told(folders):
    engine = Engine("gla", folders["gla"], Limits(rows=1, waiting=1, tokens=100_000))
    engine.start()

    async def scene():
        request = by_hand(engine, 90_000)
        (stream,) = engine.ask([request])
        (waits,) = engine.ask([by_hand(engine, 3)])
        with pytest.raises(Busy):
            engine.ask([by_hand(engine, 3)])
        async for _ in stream:
            break
        stream.close()
        async with asyncio.timeout(20):
            assert len([token async for token in waits]) == 3
        (late,) = engine.ask([by_hand(engine, 90_000)])
        late.deadline = time.monotonic() + 0.05
        with pytest.raises(Exception, match="not answered within"):
            async with asyncio.timeout(20):
                async for _ in late:
                    pass
        assert not engine.streams

    asyncio.run(scene())
    engine.stop()
    assert not engine.alive


def by_hand(engine, tokens):
    from blockyard.decode.continuous import Request

    return Request(torch.tensor(engine.words.prompt("abc")), tokens)


def test_names():
    assert names_of(["a/b", "c=d/e", "runs/x:arm"]) == {"b": "a/b", "c": "d/e", "arm": "runs/x:arm"}
    for wrong in (["a/b", "c/b"], ["=x"], ["x="]):
        with pytest.raises(by.UsageError):
            names_of(wrong)
    with pytest.raises(by.UsageError, match="too small"):
        Limits(rows=0)
