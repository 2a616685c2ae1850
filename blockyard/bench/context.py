"""What a token costs after a long past: every recipe writes from behind a short prompt and from behind a long one.

All have 12 layers of 768 channels and random weights, in bfloat16 unless asked otherwise. A recurrence should not care
how much it has read; attention reads all of it again for every token. Contestants are named recipe@tokens;
`+int8_cache` keeps what attention remembers in 8 bits.

tokens_per_s     one row, greedy, by the program that `generate` makes
state_bytes      what the state holds after the prompt
counted_bytes    what the counter says that it holds, without running anything
"""

import time
from collections.abc import Sequence
from functools import partial
from statistics import median

import torch

from blockyard.bench.measure import Row, Rows, Tell, aloud, interleave
from blockyard.bench.process import contestants
from blockyard.core import registry
from blockyard.core.errors import WorkFailed, unknown
from blockyard.core.spec import Spec
from blockyard.decode.generate import quiet
from blockyard.decode.program import Program, refusal
from blockyard.decode.ragged import prefill
from blockyard.model.count import state_bytes
from blockyard.model.model import build
from blockyard.systems import spec
from blockyard.train.precision import PRECISIONS

SIZE = {"dim": 768, "layers": 12, "heads": 12, "vocab": 32000}
STEPS = 16  # tokens of a turn
HYBRIDS = ("olmo_hybrid", "hybrid_linear_attention", "mamba2_hybrid")


def fitting(recipe: str, size: dict[str, int]) -> Spec:
    """The recipe at the size, as far as it knows the names."""
    known = registry.find("recipe", recipe).schema
    return spec(recipe, None, **{key: value for key, value in size.items() if key in known})


class Contestant:
    """One model behind several prompts."""

    def __init__(
        self, recipe: str, size: dict[str, int], lengths: Sequence[int], precision: str, int8_cache: bool, turns: int
    ) -> None:  # fmt: skip
        made = fitting(recipe, {**size, "length": max(lengths) + STEPS * turns})
        torch.manual_seed(0)
        model = build(made).eval().to(getattr(torch, precision))
        self.programs, self.next = dict[int, Program](), dict[int, torch.Tensor]()
        self.facts = dict[str, dict[str, int]]()
        for length in lengths:
            ids = torch.randint(size["vocab"], (1, length), generator=torch.Generator().manual_seed(length))
            logits, state = prefill(model, ids, model.init_state(1, int8_cache=int8_cache))
            program = Program.of(model, 1, length + STEPS * turns, int8_cache)
            if program is None:
                raise WorkFailed(f"{recipe} decodes as it trains: {refusal(model)}")
            program.load(state)
            self.programs[length], self.next[length] = program, logits.argmax(-1)
            counted = {} if int8_cache else {"counted_bytes": state_bytes(made, length, getattr(torch, precision))}
            self.facts[str(length)] = {"state_bytes": state.nbytes, **counted}

    def decode(self, length: int) -> float:
        """Seconds a token."""
        with quiet(True):
            began = time.perf_counter()
            for _ in range(STEPS):
                self.next[length] = self.programs[length].step(self.next[length]).argmax(-1)
            return (time.perf_counter() - began) / STEPS


def bench(
    *, length: Sequence[int] = (128, 8192), precision: str = "bfloat16", rounds: int = 7, quick: bool = False,
    size: dict[str, int] = SIZE, apart: bool = True, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows; `quick` takes four recipes."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    recipes = ["llama", "gpt2", "gla", "olmo_hybrid"] if quick else list(registry.entries("recipe"))
    rows, shape, lengths = Rows("context"), {**size, "precision": precision}, sorted(set(length))
    rows.load(shape, tell)
    for recipe in recipes:
        for int8_cache in (False, True) if recipe in HYBRIDS else (False,):
            name = recipe + "+int8_cache" * int8_cache
            given = {"recipe": recipe, "size": size, "lengths": lengths, "precision": precision}
            maker = "context:Contestant", given | {"int8_cache": int8_cache, "turns": rounds + 1}
            with contestants({f"blockyard/{name}": maker}, apart=apart, tell=tell) as stand:
                (one,) = stand.values()
                turns = {f"{name}@{n}": partial(one.call, "decode", length=n) for n in lengths}
                seconds = interleave(turns, rounds, tell=tell, what=name)
                for n in lengths:
                    rows.add(f"{name}@{n}", "tokens_per_s", 1 / median(seconds[f"{name}@{n}"]), "tokens/s", shape)
                    for metric, value in one.facts[str(n)].items():
                        rows.add(f"{name}@{n}", metric, value, "B", shape)
                for n in lengths[1:]:
                    rows.ratio(f"{name}@{n}", f"{name}@{lengths[0]}", "tokens_per_s", seconds, shape)
    return rows.rows
