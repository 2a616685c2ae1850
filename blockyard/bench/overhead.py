"""What the contracts cost, over code that has none.

stack   our llama beside two hand-written forwards over its own weights: `loop/llama` calls the same sublayers one
        after another, with the same tables (positions, rotary angles, masks) made once in every forward, as a model
        must; `torch/llama` spells every product out in plain torch, its tables ready before the clock starts.
train   the training loop beside bare forward, backward, clip and optimiser step of an equal model
start   the command line and the import, beside those of torch

All with the allocator that training uses: with the system's, what glibc gives back and takes again is a sixth of a
forward, by accidents of what is freed when.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear, rms_norm, scaled_dot_product_attention, silu

from blockyard.bench.measure import Row, Rows, Tell, aloud, cores, interleave, timed
from blockyard.bench.train import CLIP, DECAY, RATE, SIZE, Ids
from blockyard.compare.plan.budget import solve
from blockyard.core.child import ROOT, python
from blockyard.core.errors import unknown
from blockyard.core.spec import Spec
from blockyard.model.model import Model, build
from blockyard.optimiser.adamw import adamw
from blockyard.systems import spec
from blockyard.train.allocator import keep_memory
from blockyard.train.loop import Run, Settings
from blockyard.train.precision import PRECISIONS, arithmetic

Forward = Callable[[Tensor], Tensor]
OURS = f"import sys; sys.path.append({str(ROOT.parent)!r}); "
STARTS = {
    "python/empty": ("-c", "pass"),
    "torch/import": ("-c", "import torch"),
    "blockyard/import": ("-c", f"{OURS}import blockyard"),
    "blockyard/help": ("-c", f"{OURS}from blockyard.cli import main; main(['--help'])"),
}


def over_sublayers(model: Any, ids: Tensor) -> Forward:
    """The same sublayers in a loop, under one call with its tables."""

    def forward(ids: Tensor) -> Tensor:
        call, x = model.start(ids).call, embedding(ids, model.stem.table)
        for step in model.steps:
            x = x + step.part(step.rule.norm(x, call), call)[0]
        return linear(model.head.norm(x, call), model.head.table)

    return forward


def in_plain_torch(model: Any, ids: Tensor) -> Forward:
    """The same products on the same weights, spelled out."""
    mixers = [(s.rule.norm, s.part) for s in model.steps[::2]]
    channels = [(s.rule.norm, s.part) for s in model.steps[1::2]]
    heads = model.axes["steps.0.part.kv"].size
    cos, sin = (table.transpose(1, 2) for table in mixers[0][1].position.tables(model.start(ids).call))

    def norm(x: Tensor, part: Any) -> Tensor:
        return rms_norm(x, part.gain.shape, part.gain.to(x.dtype), part.eps)

    def turn(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        c, s = cos.to(x.dtype), sin.to(x.dtype)
        return torch.cat([first * c - second * s, second * c + first * s], dim=-1)

    def forward(ids: Tensor) -> Tensor:
        x = embedding(ids, model.stem.table)
        for (before, mixer), (between, channel) in zip(mixers, channels):
            qkv = linear(norm(x, before), mixer.qkv.weight).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
            y = scaled_dot_product_attention(turn(qkv[0]), turn(qkv[1]), qkv[2], is_causal=True)
            x = x + linear(y.transpose(1, 2).flatten(2), mixer.out.weight)
            gate, value = linear(norm(x, between), channel.up.weight).chunk(2, dim=-1)
            x = x + linear(silu(gate) * value, channel.down.weight)
        return linear(norm(x, model.head.norm), model.head.table)

    return forward


def forwards(model: Model, ids: Tensor) -> dict[str, Forward]:
    """The three ways through one set of weights."""
    return {
        "blockyard/llama": lambda ids: model(ids).logits,
        "loop/llama": over_sublayers(model, ids),
        "torch/llama": in_plain_torch(model, ids),
    }


def stack(
    rows: Rows, size: dict[str, int], length: int, batch: int, device: str, precision: str, rounds: int, tell: Tell
) -> None:
    """Forward, forward and backward at one batch size; at one token (batch 1) the microseconds a step."""
    model = build(spec("llama", None, **size)).to(device)
    ids = torch.randint(size["vocab"], (batch, length), device=device)
    shape = {"T": length, "batch": batch, **size, "precision": precision}

    def forward(run: Forward) -> None:
        with torch.no_grad(), arithmetic(precision, device):
            run(ids)

    def both(run: Forward) -> None:
        model.zero_grad(set_to_none=True)
        with arithmetic(precision, device):
            loss = run(ids).float().square().mean()
        loss.backward()

    single = length == 1
    for metric, work in (("fwd_ms", forward),) if single else (("fwd_ms", forward), ("fwd_bwd_ms", both)):
        repeats = 20 if single else 1
        ways = forwards(model, ids)
        turns = {name: partial(timed, partial(work, way), device, repeats) for name, way in ways.items()}
        seconds = interleave(turns, rounds, tell=tell, what=f"overhead T={length} batch={batch} {metric}")
        for name, values in seconds.items():
            rows.add(name, metric, 1e3 * median(values), "ms", shape)
        for bare in ("loop/llama", "torch/llama"):
            rows.overhead("blockyard/llama", bare, metric, seconds, shape)
            if single:
                more = median(a - b for a, b in zip(seconds["blockyard/llama"], seconds[bare]))
                each = 1e6 * more / len(model.steps)
                rows.add("blockyard/llama", f"us_per_step_over_{bare.partition('/')[0]}", each, "us", shape)


def training_loop(
    rows: Rows, system: Spec, length: int, batch: int, device: str, precision: str, rounds: int, tell: Tell
) -> None:
    """`Run.advance` beside the four lines that it stands for, on equal models and equal data."""
    model = build(system).to(device)
    bare = deepcopy(model)
    vocab = model.axes["stem.vocab"].size
    source = Ids(vocab, batch, length)
    run = Run(system, model, source, Settings(steps=10**6, lr=RATE, precision=precision, device=device))
    params = dict(bare.named_parameters())
    optimiser = adamw(bare, params, lr=RATE, decay=DECAY)
    count = iter(range(10**6))

    def by_hand() -> float:
        ids = torch.from_numpy(source.next(next(count))).to(device)
        optimiser.zero_grad(set_to_none=True)
        with arithmetic(precision, device):
            loss = cross_entropy(bare(ids[:, :-1]).logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(params.values(), CLIP, foreach=True)
        optimiser.step()
        return loss.item()

    turns = {"blockyard/Run.advance": lambda: timed(run.advance, device), "loop/step": lambda: timed(by_hand, device)}
    seconds = interleave(turns, rounds, warm=2, tell=tell, what="overhead of the training loop")
    shape = {"T": length, "batch": batch, "params": sum(p.numel() for p in params.values()), "precision": precision}
    for name, values in seconds.items():
        rows.add(name, "step_ms", 1e3 * median(values), "ms", shape)
    rows.overhead("blockyard/Run.advance", "loop/step", "step_ms", seconds, shape)


def starts(rows: Rows, rounds: int, tell: Tell) -> None:
    """Wall time of fresh processes."""

    def launch(arguments: tuple[str, ...]) -> float:
        return timed(lambda: subprocess.run(python(*arguments), check=True, stdout=subprocess.DEVNULL))

    turns = {name: partial(launch, arguments) for name, arguments in STARTS.items()}
    seconds = interleave(turns, rounds, tell=tell, what="overhead at the start")
    for name, values in seconds.items():
        rows.add(name, "wall_ms", 1e3 * median(values), "ms", {"rounds": rounds})
    for name in ("blockyard/import", "blockyard/help"):
        rows.ratio(name, "torch/import", "wall_ms", seconds, {"rounds": rounds})


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bench(
    *, length: int = 256, batch: int | None = None, device: str = "cpu", precision: str = "float32", rounds: int = 11,
    quick: bool = False, size: dict[str, int] = SIZE, params: float = 1e6, count: int | None = None, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows. `batch` is that of the stack (1 and 8 if left out); `quick` leaves the larger out; `count` threads."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    keep_memory()
    rows = Rows("overhead")
    with threads(count or cores()):
        rows.load({"rounds": rounds}, tell)
        for some in ((1,) if quick else (1, 8)) if batch is None else (batch,):
            stack(rows, size, length, some, device, precision, rounds, tell)
        stack(rows, size, 1, 1, device, precision, rounds, tell)
        training_loop(rows, solve("llama", params, {}), length, batch or 8, device, precision, rounds, tell)
    starts(rows, rounds, tell)
    return rows.rows
