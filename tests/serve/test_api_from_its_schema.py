"""What /openapi.json allows and what it does not, drawn at random, and clients that keep to nothing: each gets an
answer of the form that is said there, nobody gets another's, and no traceback is written."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from models_to_serve import saved

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

import blockyard as by  # noqa: E402

pytestmark = pytest.mark.slow
WRITES = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")
READS = ("/health", "/ready", "/metrics", "/v1/models", "/v1/models/{name}")
MODES = ("positive", "negative")
EXAMPLES = 30


class Served:
    """A server in a process of its own, and what it writes to standard error."""

    def __init__(self, folder, *words, **environment):
        command = [sys.executable, "-m", "blockyard", "serve", f"m={folder}", "--port", "0", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.process.stderr.readline())
        self.port, self.log = int(found[1]), list[str]()
        self.address = f"http://127.0.0.1:{self.port}"
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def end(self, seconds=60):
        """Its exit code, once all that it wrote is read."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.reader.join()

    def sound(self):
        """Every line of the log is one of JSON, and none tells of an error."""
        for line in self.log:
            assert "error" not in json.loads(line) and "Traceback" not in line, line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("drawn") / "m", "gla")


@pytest.fixture(scope="module")
def served(folder):
    server = Served(folder, "--tokens", "60", "--num-speculative", "3")
    yield server
    server.end()
    server.sound()


@pytest.fixture
def keyed(folder):
    server = Served(folder, "--rows", "3", "--num-speculative", "4", BLOCKYARD_KEY="k")
    yield server
    server.process.kill()


def known_model(case):
    """Nearly every drawn name is nobody's: what stands behind it would never be asked."""
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "m"
    return case


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", [*WRITES, *READS])
def test_what_is_drawn_from_the_schema_gets_what_the_schema_says(path, mode, served):
    schemathesis = pytest.importorskip("schemathesis", reason="pip install 'blockyard[fuzz]'")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    api = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    operation = api[path]["POST" if path in WRITES else "GET"]
    held = [not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
            checks.response_schema_conformance, checks.negative_data_rejection]  # fmt: skip
    if mode == "negative" and path in READS:  # any text is a name
        pytest.skip("it takes nothing that could be wrong")
    asked = []

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)).map(known_model))
    def one(case):
        response = case.call(timeout=300)
        asked.append(response.status_code)
        case.validate_response(response, checks=held)

    one()
    assert asked
    assert httpx.get(f"{served.address}/ready").status_code == 200


def offline(folder, prompts, tokens):
    model, words, found = by.load(folder), by.tokenizer(folder), []
    for prompt in prompts:
        steps = by.generate(model, torch.tensor([words.prompt(prompt)]), tokens, by.SamplingParams(temperature=0))
        found.append(words.decode([int(step.tokens) for step in steps]))
    return found


def raw(port, data, wait=120, seconds=0.3, parts=1):
    """What a server says within so many seconds to these bytes, sent in so many parts."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=wait) as line:
        for i in range(parts):
            line.sendall(data[i * len(data) // parts : (i + 1) * len(data) // parts])
            time.sleep(seconds / parts)
        return line.recv(1 << 16)
    return b""


def rough(port):
    """Clients of every wrong kind; what each was told."""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\n"
    body = b'{"model": "m", "prompt": "slow", "max_tokens": 3, "temperature": 0}'
    size = b"Content-Length: %d\r\n\r\n"
    yield b"401", raw(port, head.replace(b"Bearer k", b"Bearer wrong") + size % len(body) + body)
    yield b"401", raw(port, head.replace(b"Authorization: Bearer k\r\n", b"") + size % len(body) + body)
    yield b"413", raw(port, head + size % (1 << 30))
    yield b"413", raw(port, head + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17)
    yield b"400", raw(port, head + size % 5 + b'{"a":')
    yield b"400", raw(port, head + size % 4 + b"\xff\xfe\x00\x01")
    yield b"400", raw(port, b"NONSENSE\r\n\r\n")
    yield b"400", raw(port, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (1 << 17) + b"\r\n\r\n")
    yield b"", raw(port, head + size % 100 + b"{", 2)  # never ends
    yield b"", raw(port, head[:40], 2)  # nor does its head
    yield b"200", raw(port, head + size % len(body) + body, 120, 3, parts=len(body))  # byte by byte


def test_rough_clients_and_the_end_under_load_mix_no_answer(folder, keyed):
    """Good ones beside them get what they get alone, also those that are under way when the server is told to stop."""
    prompts = [f"{i} and what follows " * (1 + i % 4) for i in range(6)]
    wanted, server = offline(folder, prompts, 40), keyed
    with httpx.Client(base_url=server.address, headers={"Authorization": "Bearer k"}, timeout=120) as client:

        def ask(i):
            body = dict(model="m", prompt=prompts[i], max_tokens=40, temperature=0, stream=i % 2 == 0)
            told = client.post("/v1/completions", json=body)
            if i % 2:
                return told.json()["choices"][0]["text"]
            events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: {")]
            return "".join(event["choices"][0]["text"] for event in events)

        with ThreadPoolExecutor(8) as pool:
            good = pool.map(ask, [*range(6)] * 3)
            for status, told in rough(server.port):
                first = told.partition(b"\r\n")[0]
                assert status in first and b"Traceback" not in told, first
            assert list(good) == wanted * 3
            last = pool.map(ask, range(6))
            time.sleep(1)
            assert server.end() in (0, -signal.SIGTERM)
            assert list(last) == wanted
    server.sound()
