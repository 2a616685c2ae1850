"""How sharply does the loss curve where a model stands?

    the largest eigenvalue of H, the Hessian of the loss of some rows, by power iteration on H v

By references, which can be differentiated twice. Full-batch descent at a rate settles where it is near 2 / rate.

Source   arXiv 2402.17457    Slug  mup-lr-transfer
Family   probes
Differs  power iteration from a drawn direction, no Lanczos
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.settings import Count, Natural
from blockyard.kernels import exact
from blockyard.probe._read import Arrays, rows_of

Loss = Callable[[], Tensor]


def sharpness_probe(
    model: Any, data: Any, *, steps: Annotated[Count, "power iterations"] = 30,
    seed: Annotated[Natural, "of the first direction"] = 0,
) -> Arrays:  # fmt: skip
    """`largest` (), the eigenvalue over rows (n,L) of ids, and `left` (), how far the last H v was from it times v."""
    rows = rows_of(model, data, 2)
    params = [p for p in model.parameters() if p.requires_grad]

    def loss() -> Tensor:
        logits = model(Batch(rows[:, :-1])).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    value, left = largest(loss, params, steps, seed)
    return {"largest": np.asarray(value), "left": np.asarray(left)}


def curvature(loss: Loss, params: Sequence[Tensor], along: Sequence[Tensor]) -> list[Tensor]:
    """H v: the Hessian of a loss in its parameters, times a direction."""
    with exact(), torch.enable_grad():
        slopes = torch.autograd.grad(loss(), params, create_graph=True)
        product = torch.stack([(slope * v).sum() for slope, v in zip(slopes, along)]).sum()
        found = torch.autograd.grad(product, params, allow_unused=True)
    return [torch.zeros_like(p) if each is None else each for p, each in zip(params, found)]


def largest(loss: Loss, params: Sequence[Tensor], steps: int = 30, seed: int = 0) -> tuple[float, float]:
    """The eigenvalue of the Hessian that is largest in size, and what is left of H v - value v."""
    draw = torch.Generator().manual_seed(seed)
    v = [torch.randn(p.shape, generator=draw, dtype=torch.float32).to(p) for p in params]
    value = left = 0.0
    for _ in range(steps):
        size = _size(v)
        v = [each / size for each in v]
        Hv = curvature(loss, params, v)
        value = float(sum((a * b).sum() for a, b in zip(v, Hv)))
        left = _size([a - value * b for a, b in zip(Hv, v)])
        if _size(Hv) == 0:
            break
        v = Hv
    return value, left


def _size(v: Sequence[Tensor]) -> float:
    return float(torch.stack([each.square().sum() for each in v]).sum().sqrt())
