"""Guessing tokens ahead, on text that repeats itself: what looking up the row's own past saves.

A small model of each recipe first learns lines of a server's log, from scratch, a byte a token, in rows as long as it
will write: beyond those a llama writes what never was. Then it goes on behind some lines, in bfloat16: without guesses
and with, in turn; the tokens must be the same.

tokens_per_s         one row; what the prompt takes is not in it
tokens_per_forward   how many guesses hold, and one more
loss                 of the last training step, in nats a byte
"""

import random
import time
from functools import partial
from statistics import median

import numpy as np
import torch

from blockyard.bench.measure import Row, Rows, Tell, aloud, interleave
from blockyard.bench.process import Maker, contestants
from blockyard.decode.generate import generate
from blockyard.decode.rules import SamplingParams
from blockyard.decode.speculate import Counts, speculate
from blockyard.decoder.prompt_lookup import PromptLookup
from blockyard.model.model import build
from blockyard.systems import spec
from blockyard.train.loop import Run, Settings

RECIPES = ("llama", "gla")
SIZE, STEPS, RATE, SHAPE = {"dim": 512, "layers": 8, "vocab": 256}, 250, 1e-3, (2, 1152)
PROMPT, NEW, NUM = 600, 512, 6
RULES = {"greedy": SamplingParams(temperature=0), "sampled": SamplingParams(temperature=1.0, seed=1)}


def log(count: int = 20000) -> bytes:
    """Lines of a server's log: most of a line has been seen before, its numbers have not."""
    draw, second, lines = random.Random(0), 0, []
    for _ in range(count):
        second += draw.randrange(9)
        clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
        verb, thing = draw.choice(("GET", "GET", "POST", "PUT")), draw.choice(("users", "orders", "items", "carts"))
        what = f"/api/v1/{thing}/{draw.randrange(1000)} status={draw.choice((200, 200, 200, 404))}"
        lines.append(f"2026-11-21 {clock} INFO server.request {verb} {what} time={draw.randrange(100)}ms\n")
    return "".join(lines).encode()


class Pieces:
    """Rows of the text from anywhere."""

    def __init__(self, text: bytes) -> None:
        self.ids = np.frombuffer(text, np.uint8).astype(np.int64)

    def next(self, step: int) -> np.ndarray:
        rows, length = SHAPE
        starts = np.random.default_rng(step).integers(len(self.ids) - length, size=(rows, 1))
        return self.ids[starts + np.arange(length + 1)]


class Contestant:
    """A recipe that has learned the log."""

    def __init__(self, recipe: str, size: dict[str, int], steps: int) -> None:
        system, source = spec(recipe, None, **size), Pieces(log())
        torch.manual_seed(0)
        model = build(system)
        run = Run(system, model, source, Settings(steps=steps, lr=RATE, precision="bfloat16"))
        losses = [run.advance() for _ in range(steps)]
        self.model = model.eval().bfloat16()
        self.prompt = torch.from_numpy(source.ids[None, :PROMPT])
        self.facts = {"params": sum(p.numel() for p in model.parameters()), "loss": losses[-1]}
        self.written: dict[str, list[int]] = {}
        self.counts = {how: Counts() for how in RULES}

    def write(self, how: str, speculative: bool) -> float:
        """Seconds a token, behind the first."""
        rules, counts = RULES[how], Counts()
        steps = generate(self.model, self.prompt, NEW, rules)
        if speculative:
            steps = speculate(self.model, self.prompt, NEW, PromptLookup(), rules, num_speculative=NUM, counts=counts)
            self.counts[how] = counts
        found = [int(next(steps).tokens)]
        began = time.perf_counter()
        found += [int(step.tokens) for step in steps]
        taken = time.perf_counter() - began
        assert found == self.written.setdefault(how, found), how
        return taken / (NEW - 1)

    def per_forward(self, how: str) -> float:
        return self.counts[how].tokens / self.counts[how].forwards


def bench(
    *, rounds: int = 7, quick: bool = False, size: dict[str, int] = SIZE, steps: int = STEPS, apart: bool = True,
    tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows; `quick` takes the first recipe."""
    rows, shape = Rows("speculative"), {"prompt": PROMPT, "new": NEW, "num_speculative": NUM, **size}
    rows.load(shape, tell)
    for recipe in RECIPES[:1] if quick else RECIPES:
        maker: Maker = "speculative:Contestant", {"recipe": recipe, "size": size, "steps": steps}
        name = f"blockyard/{recipe}"
        with contestants({name: maker}, keep=True, apart=apart, tell=tell) as stand:
            for how in RULES:
                names = {f"{name}+{how}": False, f"{name}+{how}+speculative": True}
                turns = {one: partial(stand[name].call, "write", how=how, speculative=on) for one, on in names.items()}
                seconds = interleave(turns, rounds, tell=tell, what=f"{recipe} {how}")
                for one, on in names.items():
                    rows.add(one, "tokens_per_s", 1 / median(seconds[one]), "tokens/s", shape)
                    if on:
                        rows.add(one, "tokens_per_forward", stand[name].call("per_forward", how=how), "", shape)
                        rows.ratio(one, f"{name}+{how}", "tokens_per_s", seconds, shape)
            rows.add(name, "params", stand[name].facts["params"], "", shape)
            rows.add(name, "loss", stand[name].facts["loss"], "nats", shape)
    return rows.rows
