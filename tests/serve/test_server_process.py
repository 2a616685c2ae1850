"""The server as a process: the official client, many streams at once, hang-ups, slow senders, SIGTERM."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch
from models_to_serve import saved

pytest.importorskip("fastapi")
openai = pytest.importorskip("openai")

import blockyard as by  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("served") / "gla", "gla")


@pytest.fixture
def server(folder):
    """A running server: its address, its process, its log."""
    words = [sys.executable, "-m", "blockyard", "serve", folder, f"other={folder}", "--port", "0", "--rows", "4"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "BLOCKYARD_KEY": "k"})
    first = process.stderr.readline()
    found = re.search(r"gla, other at (http://127.0.0.1:(\d+)/v1)", first)
    assert found, first + process.stderr.read()
    log = []
    reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
    reader.start()
    yield found[1], int(found[2]), process, log
    process.kill()
    process.wait()
    reader.join()


def offline(folder, prompt, tokens):
    model, words = by.load(folder), by.tokenizer(folder)
    steps = by.generate(model, torch.tensor([words.prompt(prompt)]), tokens, by.SamplingParams(temperature=0))
    return words.decode([int(step.tokens) for step in steps])


def test_many_clients_and_then_the_end(server, folder):
    address, port, process, log = server
    prompts = [f"text {i} " * (1 + i % 7) for i in range(20)]
    wanted = [offline(folder, prompt, 30) for prompt in prompts]

    async def one(client, i):
        stream = await client.completions.create(
            model=("gla", "other")[i % 2], prompt=prompts[i], max_tokens=30, temperature=0, stream=True
        )
        text = ""
        async for event in stream:
            text += event.choices[0].text
            if i % 5 == 4 and len(text) > 3:
                await stream.close()  # this one has heard enough
                return None
        return text

    async def scene():
        async with openai.AsyncOpenAI(base_url=address, api_key="k", max_retries=0) as client:
            told = await asyncio.gather(*(one(client, i) for i in range(len(prompts))))
            assert told == [None if i % 5 == 4 else text for i, text in enumerate(wanted)]
            assert [each.id async for each in client.models.list()] == ["gla", "other"]
            with pytest.raises(openai.NotFoundError, match="known: gla, other"):
                await client.chat.completions.create(model="x", messages=[{"role": "user", "content": "a"}])
            with pytest.raises(openai.BadRequestError, match="up to 4096"):
                await client.completions.create(model="gla", prompt="a", max_tokens=9999)
        async with openai.AsyncOpenAI(base_url=address, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with openai.AsyncOpenAI(base_url=address, api_key="k", max_retries=0) as client:
            pending = asyncio.gather(*(one(client, i) for i in range(4)))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)  # what is under way ends as it should
            assert await pending == wanted[:4]

    slow = socket.create_connection(("127.0.0.1", port))  # who never ends a sentence holds up nobody
    slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 100\r\n\r\n{")
    asyncio.run(scene())
    slow.close()
    assert process.wait(20) in (0, -signal.SIGTERM)
    time.sleep(0.1)
    assert not [line for line in log if "Traceback" in line or '"level": "error"' in line]


@pytest.mark.parametrize(
    "words, says",
    [
        (["nowhere"], "nowhere"),
        (["{folder}", "again={folder}", "again={folder}"], "two models are called again"),
        (["{folder}", "--port", "99999"], "--port"),
        (["{folder}", "--key", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["{folder}", "--rows", "0"], "--rows"),
        (["{folder}", "--adapter", "nowhere"], "give NAME=FOLDER"),
        (["{folder}", "--adapter", "a={folder}"], "holds no adapter"),
        (["{folder}", "--draft", "{folder}", "--num-speculative", "0"], "guesses nothing"),
        (["{folder}", "--num-speculative", "300"], "at most 256"),
        (["{folder}", "--host", "256.1.1.1"], "cannot listen at 256.1.1.1"),
    ],
)
def test_a_wrong_start_is_a_line(words, says, folder, capsys):
    from blockyard.cli import main

    assert main(["serve", *(word.format(folder=folder) for word in words)]) == 2
    told = capsys.readouterr().err
    assert says in told and "Traceback" not in told and len(told.splitlines()) <= 8
