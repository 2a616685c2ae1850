"""A server under load: streams that are what they would be alone, rows that pay, memory that stays.

python -m tests.acceptance.serving throughput [RECIPE]   tokens a second of one request at a time, and of eight at once
python -m tests.acceptance.serving streams [SECONDS]     64 clients, mixed lengths, a fifth hangs up: each its own text
python -m tests.acceptance.serving memory [REQUESTS]     what the server holds after every 200 requests
"""

import asyncio
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch

import blockyard as by
from blockyard.data.tokens import Bytes

GREEDY = by.SamplingParams(temperature=0)
LENGTHS = (8, 40, 150, 400)  # bytes of prompts


def model_in(folder: Path, recipe: str, params: str | None) -> str:
    """A random model that reads bytes."""
    if params is None:
        model = by.build(recipe, "tiny", seed=1)
    else:
        from blockyard.compare.plan.budget import solve

        model = by.build(solve(recipe, float(params), {}), seed=1).bfloat16()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():  # what is as it began writes the same byte for ever
            p += (0.02 * torch.randn(p.shape, generator=draw)).to(p.dtype)
    model.save(folder, beside={"tokenizer.json": Bytes().to_json()})
    return str(folder)


@contextmanager
def server(folder: str, *words: str) -> Iterator[tuple[str, int]]:
    """The address of a server of this folder, and the number of its process."""
    command = [sys.executable, "-m", "blockyard", "serve", f"m={folder}", "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r"(http://\S+)/v1", process.stderr.readline())
    assert found is not None
    threading.Thread(target=lambda: list(process.stderr or ()), daemon=True).start()
    try:
        yield found[1], process.pid
    finally:
        process.terminate()
        process.wait()


def throughput(recipe: str = "llama") -> None:
    """Tokens a second, in turns: one request at a time, eight at once."""
    with tempfile.TemporaryDirectory() as room:
        folder = model_in(Path(room) / "m", recipe, "11e6")
        with server(folder, "--rows", "8") as (address, _), httpx.Client(base_url=address, timeout=600) as client:
            body = dict(model="m", max_tokens=128, temperature=0)

            def ask(number: int) -> int:
                answer = client.post("/v1/completions", json={**body, "prompt": f"{number} " * 8})
                return answer.json()["usage"]["completion_tokens"]

            ask(-1)  # compiles
            for turn in range(4):
                took = []
                for workers, numbers in ((1, range(2)), (8, range(10, 18))):
                    begun = time.perf_counter()
                    with ThreadPoolExecutor(workers) as pool:
                        made = sum(pool.map(ask, [100 * turn + number for number in numbers]))
                    took.append(made / (time.perf_counter() - begun))
                alone, eight = took
                print(f"{recipe}, turn {turn}: {alone:.1f} tokens/s alone, {eight:.1f} by eight: x {eight / alone:.2f}")


def streams(seconds: str = "300") -> None:
    """Every stream against the text that the model writes by itself; the 95th percentile of the first token."""
    with tempfile.TemporaryDirectory() as room:
        folder = model_in(Path(room) / "m", "mamba2_hybrid", None)
        model, words, draw = by.load(folder), by.tokenizer(folder), random.Random(0)
        asked = ["".join(chr(draw.randrange(97, 123)) for _ in range(draw.choice(LENGTHS))) for _ in range(200)]
        counts = [draw.randrange(1, 60) for _ in asked]
        wanted = []
        for prompt, count in zip(asked, counts):
            steps = by.generate(model, torch.tensor([words.prompt(prompt)]), count, GREEDY)
            wanted.append(words.decode([int(step.tokens) for step in steps]))
        firsts, wrong, done, left = list[float](), list[int](), [0], [0]

        async def client(number: int, address: str, until: float) -> None:
            own = random.Random(number)
            async with httpx.AsyncClient(base_url=address, timeout=120) as http:
                while time.monotonic() < until:
                    i = own.randrange(len(asked))
                    body = dict(model="m", prompt=asked[i], max_tokens=counts[i], temperature=0, stream=True)
                    text, begun, goes = "", time.monotonic(), own.random() < 0.2
                    async with http.stream("POST", "/v1/completions", json=body) as answer:
                        if answer.status_code == 429:
                            await asyncio.sleep(0.05)
                            continue
                        async for line in answer.aiter_lines():
                            if line.startswith("data: {"):
                                if not text:
                                    firsts.append(time.monotonic() - begun)
                                text += json.loads(line[6:])["choices"][0]["text"]
                                if goes and len(text) > 5:
                                    left[0] += 1
                                    break
                        else:
                            done[0] += 1
                            if text != wanted[i]:
                                wrong.append(i)

        async def scene(address: str) -> None:
            until = time.monotonic() + float(seconds)
            await asyncio.gather(*(client(n, address, until) for n in range(64)))

        with server(folder, "--rows", "8", "--waiting", "64") as (address, _):
            asyncio.run(scene(address))
        late = sorted(firsts)[int(0.95 * len(firsts))]
        print(f"{done[0]} streams ended, {left[0]} hung up, {len(wrong)} were not their own text; "
              f"first token within {late:.3f} s for 95% of 64 clients")  # fmt: skip
        assert not wrong and done[0]


def memory(requests: str = "2000") -> None:
    """Megabytes that the server holds, as it answers requests of random lengths."""
    with tempfile.TemporaryDirectory() as room:
        folder = model_in(Path(room) / "m", "llama", None)
        with server(folder) as (address, process), httpx.Client(base_url=address, timeout=120) as client:
            draw = random.Random(0)
            for number in range(int(requests) + 1):
                if number % 200 == 0:
                    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
                    print(f"{number} requests: {pages * resource.getpagesize() / 1e6:.0f} MB", flush=True)
                prompt = "".join(chr(draw.randrange(97, 123)) for _ in range(draw.randrange(1, 300)))
                body = dict(model="m", prompt=prompt, max_tokens=draw.randrange(1, 20))
                assert client.post("/v1/completions", json=body).status_code == 200


if __name__ == "__main__":
    {"throughput": throughput, "streams": streams, "memory": memory}[sys.argv[1]](*sys.argv[2:])
