"""How large are the gradients that each step gets, by depth?

    PATH:written      sqrt(sum over tokens |dL/dy|^2)        y: what the step writes
    PATH:projection   sqrt(sum |dL/dW|^2)                    W: every matrix of the step that writes to the stream

L is the mean of -ln p(token | before) over all rows. A step that runs several times counts all of its runs. Means,
spreads and slopes over depth are of the logarithms.

Source   arXiv 2412.13795, 2502.02732    Slug  mix-ln
Family   probes
Differs  of one model at one time, on all rows; the paper averages over a stretch of training
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from blockyard.core import Batch
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, next_nats, rows_of


def step_gradients_probe(model: Any, data: Any, *, batch: Annotated[Count, "rows at once"] = 16) -> Arrays:
    """Sizes of gradients on rows (n,L) of ids, one number each, for every step: `steps.0.part:written`."""
    model.require("causal", "a probe of the loss of the next token")
    rows = rows_of(model, data, 2)
    parts = {unit.part.path: unit.part for unit in model.steps}
    numbers = {name: p.detach().requires_grad_(p.is_floating_point()) for name, p in model.named_parameters()}
    owner = {use.path: path for path, part in parts.items() for use in model.uses if _writes(use, path, part)}
    owner = {name: path for name, path in owner.items() if name in numbers}
    slopes = {name: torch.zeros_like(numbers[name], dtype=torch.float64) for name in owner}
    squares = dict.fromkeys(parts, 0.0)
    for piece in rows.split(batch):
        written: list[tuple[str, Tensor]] = []
        loss = _loss(model, numbers, parts, piece, written) / rows[:, 1:].numel()
        asked = [*(numbers[name] for name in owner), *(y for _, y in written)]
        found = torch.autograd.grad(loss, asked, allow_unused=True)
        for name, slope in zip(owner, found):
            slopes[name] += 0 if slope is None else slope
        for (path, _), slope in zip(written, found[len(owner) :]):
            squares[path] += 0.0 if slope is None else float(slope.double().square().sum())
    arrays = {f"{path}:written": np.array(square**0.5) for path, square in squares.items()}
    for path in dict.fromkeys(owner.values()):
        size = sum(float(slopes[name].square().sum()) for name in owner if owner[name] == path)
        arrays[f"{path}:projection"] = np.array(size**0.5)
    return arrays


def _writes(use: Any, path: str, part: Any) -> bool:
    """Whether this is a matrix of the part's own that writes to its stream."""
    return use.path.startswith(f"{path}.") and use.writes is part.stream and not use.of


def _loss(model: Any, numbers: Any, parts: Any, piece: Tensor, written: list[tuple[str, Tensor]]) -> Tensor:
    """The summed nats of a piece; what every step wrote on the way is left in `written`."""

    def watch(path: str) -> Any:
        def seen(_: Any, __: Any, out: Any) -> None:
            if out[0].requires_grad:
                written.append((path, out[0]))

        return seen

    hooks = [part.register_forward_hook(watch(path)) for path, part in parts.items()]
    again, model.recompute = model.recompute, False  # what is made again in backward was not written
    try:
        with torch.enable_grad():
            return next_nats(functional_call(model, numbers, (Batch(piece),)).logits, piece).sum()
    finally:
        model.recompute = again
        for hook in hooks:
            hook.remove()
