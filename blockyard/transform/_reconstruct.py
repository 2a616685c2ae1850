"""Roundings that are learned, block by block: what a block says of what reaches it should be what it said before.

    loss = mean over tokens of |block(x; W) - block(x~; W^)|^2        x~ comes through blocks that are rounded already

Every projection of a block has a `Rounding`; those of a block are learned together by Adam. What has the lowest loss on
all data is kept, the start included. Where steps do not run once and in order, all of them are one block.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from blockyard.core.batch import Batch
from blockyard.core.flow import Flow
from blockyard.model.model import Model
from blockyard.transform._grid import Coded, Grid
from blockyard.transform._sweep import copied

LOOKS = 8  # times that the loss on all data is looked at in the fit of a block


class Rounding(ABC):
    """How one matrix (O,I) is rounded: numbers that are learned, and what they make of it.

    begun    the codes before anything is learned        learned   tensors that Adam changes
    """

    begun: Coded
    learned: tuple[Tensor, ...]

    @abstractmethod
    def soft(self) -> Tensor:
        """(O,I) the matrix with slopes for what is learned."""

    @abstractmethod
    def coded(self) -> Coded:
        """The codes as they would be kept now."""

    def penalty(self, progress: float) -> Tensor | float:
        """Added to the loss, which is 1 at first, after this share of the steps."""
        return 0.0


Make = Callable[[Tensor], Rounding]


@dataclass(frozen=True)
class Fit:
    """How a block's roundings are learned: steps of Adam, their rate, tokens of each, and the seed of their order."""

    steps: int
    rate: float
    tokens: int
    seed: int


def straight(hard: Tensor, soft: Tensor) -> Tensor:
    """The numbers of one with the slopes of the other."""
    return soft + (hard - soft).detach()


class _Block(nn.Module):
    """Some steps of a model as one module, so that its tensors can be lent; no steps: all, as its depth wills."""

    def __init__(self, model: Model, steps: tuple[int, ...] | None) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, flow: Flow) -> Flow:
        return self.model.run(flow, self.steps)


def blocks(model: Model) -> list[tuple[int, ...] | None]:
    """The steps of every block, or None where they do not run once and in order: all at once."""
    steps = [(step, 0) for step in range(len(model.steps))]
    return list(model.depth.blocks) if model.depth.order() == steps else [None]


@torch.no_grad()
def reconstruct(
    model: Model, data: Sequence[Batch], paths: Sequence[str], make: Make, grid: Grid, fit: Fit
) -> tuple[dict[str, Coded], dict[str, list[float]]]:
    """The codes of these projections, and of every block what it lost before and after, as a share of what it says.

    Those outside of all blocks are rounded to the nearest."""
    work, found, lost = copied(model), dict[str, Coded](), dict[str, list[float]]()
    parts: dict[str, Any] = {part.path: part for part in work.parts() if part.path in paths}
    if next(model.parameters()).is_meta:
        return {path: grid.nearest(part.weight) for path, part in parts.items()}, {}
    rows = [piece for batch in data for piece in _pieces(batch, fit.tokens)]
    clean, rough = [model.start(piece) for piece in rows], [work.start(piece) for piece in rows]
    for number, steps in enumerate(blocks(model)):
        clean = [model.run(flow, steps) for flow in clean]
        inside = [path for path in parts if steps is None or _step(path) in steps]
        if inside:
            made = {path: make(parts[path].weight.double()) for path in inside}
            block = _Block(work, steps)
            lost[f"block {number}"] = _learn(block, made, rough, [_counted(f, f.x) for f in clean], fit)
            for path, rounding in made.items():
                found[path] = rounding.coded()
                parts[path].weight.copy_(found[path].weight)
        rough = [work.run(flow, steps) for flow in rough]
    rest = {path: make(part.weight.double()).begun for path, part in parts.items() if path not in found}
    return found | rest, lost


def _learn(
    block: _Block, made: Mapping[str, Rounding], rough: Sequence[Flow], wanted: Sequence[Tensor], fit: Fit
) -> list[float]:
    """Learn the roundings of a block; what it lost at first and at last, as a share of what it says."""
    learned = [tensor.requires_grad_() for rounding in made.values() for tensor in rounding.learned]
    power = sum(float(each.double().square().sum()) for each in wanted)
    first = best = _whole(block, made, rough, wanted)
    kept, draw = [tensor.detach().clone() for tensor in learned], torch.Generator().manual_seed(fit.seed)
    adam, every = torch.optim.Adam(learned, fit.rate), max(1, fit.steps // LOOKS)
    some = [i for i, each in enumerate(wanted) if len(each)]  # where no token counts there is no mean of any
    tokens = sum(len(each) for each in wanted)
    for step in range(fit.steps if first else 0):
        i = some[int(torch.randint(len(some), (1,), generator=draw))]
        with torch.enable_grad():
            adam.zero_grad()
            gap = (_says(block, {path: each.soft() for path, each in made.items()}, rough[i]) - wanted[i]).square()
            loss = gap.sum() / len(wanted[i]) * (tokens / first)
            (loss + sum(each.penalty(step / fit.steps) for each in made.values())).backward()
            adam.step()
        if (step + 1) % every == 0 or step + 1 == fit.steps:
            now = _whole(block, made, rough, wanted)
            if now < best:
                best, kept = now, [tensor.detach().clone() for tensor in learned]
    for tensor, value in zip(learned, kept):
        tensor.detach().copy_(value)
    return [first / power, best / power] if power else [0.0, 0.0]


@torch.no_grad()
def _whole(
    block: _Block, made: Mapping[str, Rounding], rough: Sequence[Flow], wanted: Sequence[Tensor]
) -> float:  # fmt: skip
    """What a block loses on all data with the codes as they would be kept now."""
    weights = {path: each.coded().weight for path, each in made.items()}
    gaps = [_says(block, weights, flow) - want for flow, want in zip(rough, wanted)]
    return sum(float(gap.double().square().sum()) for gap in gaps)


def _says(block: _Block, weights: Mapping[str, Tensor], flow: Flow) -> Tensor:
    """(n,D) what a block says with these matrices, of the tokens that count."""
    held = dict(block.named_parameters())
    lent = {f"model.{path}.weight": weight.to(held[f"model.{path}.weight"].dtype) for path, weight in weights.items()}
    out = functional_call(block, lent, (flow,))
    return _counted(out, out.x)


def _counted(flow: Flow, x: Tensor) -> Tensor:
    valid = flow.call.valid
    return x[valid] if valid is not None and valid.shape == x.shape[:2] else x.flatten(0, -2)


def _pieces(batch: Batch, tokens: int) -> list[Batch]:
    """A batch in pieces of whole rows, of about so many tokens."""
    rows, length = batch.tokens.shape[0], max(1, batch.tokens[0].numel())
    some = max(1, tokens // length)
    return [batch.rows(slice(at, at + some)) for at in range(0, rows, some)]


def _step(path: str) -> int | None:
    """The step that a part stands in; None: in none."""
    words = path.split(".")
    return int(words[1]) if words[0] == "steps" else None
