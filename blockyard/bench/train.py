"""The training step of a llama, ours and the peers': forward, loss, backward, clipped gradient, AdamW.

Two questions. Like for like: the same step around every model, in float32 and in bfloat16 autocast, eager and
compiled (compilation is not timed), on the same token ids, each in a process of its own with the allocator that our
training uses. And defaults against defaults (`+defaults`): what `blockyard train` does here when told nothing
(precision by its rule, fused optimiser, that allocator), beside a plain loop around transformers (float32, its own
loss, torch's default AdamW, the system's allocator).

`fraction_of_floor` is the floor of the work over the time taken: 1 would be a machine that does nothing but the
counted products. Bytes of the floor: weights, gradients and two moments read, weights and moments written.
"""

from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blockyard.bench import peers
from blockyard.bench.measure import Rates, Row, Rows, Tell, aloud, interleave, require, timed
from blockyard.bench.process import Maker, contestants
from blockyard.core.errors import WorkFailed, unknown
from blockyard.model.count import count_flops, on_meta
from blockyard.model.model import build
from blockyard.systems import spec
from blockyard.train.loop import Run, Settings
from blockyard.train.precision import PRECISIONS, arithmetic, choose

SIZE = {"dim": 384, "layers": 6, "heads": 6, "ffn": 1024, "vocab": 512}
LIBRARIES = ("blockyard", "transformers", "x-transformers")
RATE, DECAY, CLIP = 1e-4, 0.1, 1.0
MOVED = 7 * 4  # bytes a parameter


class Ids:
    """The data of all contestants: `next(step)` gives the same random ids (B, T+1) to everyone."""

    def __init__(self, vocab: int, batch: int, length: int) -> None:
        self.vocab, self.shape = vocab, (batch, length + 1)

    def next(self, step: int) -> np.ndarray:
        return np.random.default_rng(step).integers(self.vocab, size=self.shape)


class Trainee:
    """A model in training: `step()` gives the seconds of one."""

    def __init__(self, module: nn.Module, advance: Callable[[Any], Any], data: Any, device: str) -> None:
        self.facts = {"params": sum(p.numel() for p in module.parameters())}
        self.advance, self.data, self.device, self.count = advance, data, device, 0
        for _ in range(2):  # whatever is compiled or allocated once
            self.step()

    def step(self) -> float:
        batch = self.data(self.count)
        self.count += 1
        return timed(lambda: self.advance(batch), self.device)


def _model(library: str, size: dict[str, int], length: int) -> tuple[nn.Module, Callable[[Any, Tensor], Tensor]]:
    if library == "blockyard":
        return build(spec("llama", None, **size)), lambda module, ids: module(ids).logits
    return peers.LLAMA[library](size, length)


def trainee(
    library: str, compiled: bool, size: dict[str, int], length: int, batch: int, device: str, precision: str
) -> Trainee:
    """One model under the step that all share."""
    torch.manual_seed(0)
    module, logits_of = _model(library, size, length)
    return stepped(module, logits_of, Ids(size["vocab"], batch, length), device, precision, compiled)


def stepped(
    module: nn.Module, logits_of: Callable[[Any, Tensor], Tensor], source: Ids, device: str, precision: str,
    compiled: bool = False,
) -> Trainee:  # fmt: skip
    """A model under that step, on these ids."""
    module.to(device).train()
    runs = torch.compile(module) if compiled else module
    params = list(module.parameters())
    optimiser = torch.optim.AdamW(params, lr=RATE, betas=(0.9, 0.95), weight_decay=DECAY, fused=True)

    def data(count: int) -> Tensor:
        return torch.from_numpy(source.next(count)).to(device)

    def advance(ids: Tensor) -> float:
        optimiser.zero_grad(set_to_none=True)
        with arithmetic(precision, device):
            logits = logits_of(runs, ids[:, :-1])
            loss = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(params, CLIP, foreach=True)
        optimiser.step()
        return loss.item()

    return Trainee(module, advance, data, device)


def default_trainee(library: str, size: dict[str, int], length: int, batch: int, device: str) -> Trainee:
    """One library as it comes."""
    torch.manual_seed(0)
    source = Ids(size["vocab"], batch, length)
    if library == "blockyard":
        system = spec("llama", None, **size)
        model = build(system).to(device)
        precision = choose(None, device, size["dim"])
        run = Run(system, model, source, Settings(steps=10**6, lr=RATE, precision=precision, device=device))
        return Trainee(model, lambda _: run.advance(), lambda _: None, device)
    module, _ = _model(library, size, length)
    module.to(device).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE)

    def advance(ids: Tensor) -> float:
        loss = module(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad()
        return loss.item()

    return Trainee(module, advance, lambda count: torch.from_numpy(source.next(count)[:, :-1]).to(device), device)


def bench(
    *, length: int = 256, batch: int = 8, device: str = "cpu", precision: str | None = None, rounds: int = 7,
    quick: bool = False, size: dict[str, int] = SIZE, apart: bool = True, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows. `precision` limits the like-for-like part to one; `quick` leaves compiled models out."""
    if precision is not None and precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    require("transformers", "x_transformers")
    rows = Rows("train")
    shape = {"T": length, "batch": batch, **size}
    rows.load(shape, tell)
    given = {"size": size, "length": length, "batch": batch, "device": device}
    operations = float(count_flops(on_meta(spec("llama", None, **size)), length))
    race = partial(run_race, rows, rounds=rounds, device=device, apart=apart, tell=tell)
    for name in PRECISIONS if precision is None else (precision,):
        makers: dict[str, Maker] = {}
        for compiled in (False,) if quick else (False, True):
            for library in LIBRARIES:
                settings = {"library": library, "compiled": compiled, "precision": name, **given}
                makers[f"{library}/llama{'+compile' * compiled}"] = "train:trainee", settings
        work: dict[str, tuple[float, str]] = dict.fromkeys(makers, (operations, name))
        race(makers, work, _alike(makers), shape | {"precision": name}, keep=True)
    makers = {f"{x}/llama+defaults": ("train:default_trainee", {"library": x, **given}) for x in LIBRARIES[:2]}
    work = dict(zip(makers, ((operations, choose(None, device, size["dim"])), (operations, "float32"))))
    keep = {name: name.startswith("blockyard") for name in (*makers, "machine")}
    race(makers, work, _alike(makers), shape | {"precision": "default"}, keep=keep)
    return rows.rows


def _alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Ours and each peer that runs in the same way."""
    ours = [name for name in names if name.startswith("blockyard/")]
    way = lambda name: name.partition("+")[2]  # noqa: E731
    return [(mine, name) for mine in ours for name in names if name != mine and way(name) == way(mine)]


def run_race(
    rows: Rows, makers: dict[str, Maker], work: dict[str, tuple[float, str]], pairs: list[tuple[str, str]],
    shape: dict[str, Any], *, keep: bool | dict[str, bool], rounds: int, device: str, apart: bool, tell: Tell,
) -> None:  # fmt: skip
    """Training steps of all contestants and the machine, in turns.

    `work`: each one's forward operations for a row and its precision, for its floor. `pairs`: who is held against whom.
    """
    makers = makers | {"machine": ("measure:machine", {"device": device, "small": not apart})}
    with contestants(makers, keep=keep, apart=apart, tell=tell) as stand:
        names = [name for name in stand if name != "machine"]
        params = {name: stand[name].facts["params"] for name in names}
        if max(params.values()) > 1.02 * min(params.values()):
            raise WorkFailed(f"contestants of unequal size: {params}")
        rates = Rates(stand["machine"], {precision for _, precision in work.values()})
        turns: dict[str, Callable[[], float]] = {name: partial(stand[name].call, "step") for name in names}
        what = f"{rows.bench} {shape['precision']}"
        seconds = interleave(turns | {"machine": rates}, rounds, tell=tell, what=what)
    rows.rates(rates, shape)
    for name in names:
        taken, (operations, precision) = median(seconds[name]), work[name]
        least = rates.floor(3 * shape["batch"] * operations, MOVED * params[name], precision)
        rows.add(name, "params", params[name], "", shape)
        rows.add(name, "tokens_per_s", shape["T"] * shape["batch"] / taken, "tokens/s", shape)
        rows.add(name, "fraction_of_floor", least / taken, "", shape)
    for ours, theirs in pairs:
        rows.ratio(ours, theirs, "tokens_per_s", seconds, shape)
