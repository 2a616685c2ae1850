"""Of what a stack makes, how much goes through no sublayer, through one, through two in a row, and so on?

    x_l = x_{l-1} + e f_l(x_{l-1})        x_n = sum_k e^k c_k        at e = 1
    c_0 = x_0        c_1 = sum_i f_i(x_0)        c_2 = sum_{i<j} Df_j(x_0) f_i(x_0)        ...

f_l is what step l really adds to the stream, with its norms and scales, and c_k stands for the paths through k of the n
steps. Where all f are linear, c_k is the sum over all products of k of them, and c_0 + ... + c_n is the stream
exactly; else the sum is Taylor's, and what is left of it says how far from it a model is. c_k is a derivative
along directions that lower orders give: no order is what a model says without some of its steps (step_skip says that).

Source   arXiv 2510.03470    Slug  residual-expansion
Family   probes
Differs  a step is one sublayer; a scale of the residual rule belongs to f
"""

from collections.abc import Callable
from copy import deepcopy
from math import factorial
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Natural
from blockyard.kernels import exact
from blockyard.probe._read import Arrays, rows_of


def path_orders_probe(
    model: Any, data: Any, *, most: Annotated[Natural, "the highest order"] = 2,
    batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """Orders of the last stream on rows (n,L) of ids, in double precision.

    order K (n,L,D) for K up to `most`; whole (n,L,D) the stream; left (most+1,) of its size, what is missing to it
    """
    rows = rows_of(model, data, 1)
    copied = deepcopy(model).double().requires_grad_(False)  # dual numbers of parameters would be carried for nothing
    copied.recompute = False
    found: dict[str, list[Tensor]] = {}
    with exact(), torch.enable_grad():
        for piece in rows.split(batch):
            share = torch.zeros((), dtype=torch.float64, device=piece.device, requires_grad=True)
            along = _along(copied, piece)
            value = along(share)
            for order in range(most + 1):
                value = value if order == 0 else _slope(value, share)
                found.setdefault(f"order {order}", []).append(value.detach() / factorial(order))
            found.setdefault("whole", []).append(along(torch.ones_like(share)).detach())
    each = {name: torch.cat(pieces) for name, pieces in found.items()}
    whole, left = each["whole"], []
    for order in range(most + 1):
        missing = whole - torch.stack([each[f"order {k}"] for k in range(order + 1)]).sum(0)
        left.append(missing.norm() / whole.norm())
    return {name: value.cpu().numpy() for name, value in (each | {"left": torch.stack(left)}).items()}


def _along(model: Any, piece: Tensor) -> Callable[[Tensor], Tensor]:
    """The last stream as a function of the share e of what every step adds."""

    def said(share: Tensor) -> Tensor:
        def run(flow: Any, step: int, loop: int = 0, **how: Any) -> Any:
            after = model._run(flow, step, loop, **how)
            if after.carry is not after.x or flow.x.shape != after.x.shape:
                raise UsageError(f"steps.{step}: orders of paths are of steps that add to a stream of one width")
            return after._replace(carry=flow.x + share * (after.x - flow.x), rule=None)

        return model.depth(model.start(Batch(piece)), run).x

    return said


def _slope(value: Tensor, share: Tensor) -> Tensor:
    """The derivative of a tensor by one number, by backward alone: forward, not every operation has a second one."""
    if not value.requires_grad:
        return torch.zeros_like(value)
    any_ = torch.zeros_like(value, requires_grad=True)
    (along,) = torch.autograd.grad(value, share, any_, create_graph=True, materialize_grads=True)
    (slope,) = torch.autograd.grad(along, any_, create_graph=True, materialize_grads=True)
    return slope
