"""Surprise in one pass over a row that lies in the innermost cache, and its gradient in another.

    s = log sum exp(x - top) + top      nats = s - x[target]      dx_v = (exp(x_v - s) - [v = target]) dnats

The framework writes all log-probabilities and reads them again, fills a gradient of them with zeros, and turns it.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from ..toolkit.arrays import raveled
from ..toolkit.chunks import state_dtype
from ..toolkit.compile import compiled
from ..toolkit.lanes import exponential, full, load, maximum, put, reduce_add, reduce_max, splat, store
from ..toolkit.parallel import parallel_for
from .reference import cross_entropy_reference

BLOCK = 16  # rows a task
LIGHT = 4  # scores that cost as much as an element of a scan


@compiled
def forward(like, x, targets, nats, sums, N, V, first, last):
    """nats and sums (N,): the logarithm of the sum of a row; rows that ask nothing have 0 and infinity."""
    vector, zero = len(full(like.dtype.type(0))), like.dtype.type(0)
    whole = V // vector * vector
    for n in range(first * BLOCK, min(last * BLOCK, N)):
        at, target = n * V, targets[n]
        if target < 0:
            nats[n], sums[n] = zero, like.dtype.type(np.inf)
            continue
        highest = load(x, at + V - vector)  # the last vector, as whole as the others
        for i in range(0, whole, vector):
            highest = maximum(load(x, at + i), highest)
        top = reduce_max(highest)
        lowered, total = full(top), full(zero)
        for i in range(0, whole, vector):
            total = total + exponential(load(x, at + i) - lowered)
        summed = reduce_add(total)
        for i in range(whole, V):
            summed += exponential(reduce_max(splat(x, at + i)) - top)
        sums[n] = top + like.dtype.type(math.log(summed))
        nats[n] = sums[n] - reduce_max(splat(x, at + target))


@compiled
def backward(like, x, targets, sums, weights, dx, N, V, first, last):
    """weights (N,): what a nat of each row is worth."""
    vector = len(full(like.dtype.type(0)))
    for n in range(first * BLOCK, min(last * BLOCK, N)):
        at, target, total, weight = n * V, targets[n], full(sums[n]), full(weights[n])
        for i in range(0, V - vector + 1, vector):
            store(dx, at + i, exponential(load(x, at + i) - total) * weight)
        store(dx, at + V - vector, exponential(load(x, at + V - vector) - total) * weight)
        if target >= 0:
            p = exponential(reduce_max(splat(x, at + target)) - sums[n])
            put(dx, at + target, (p - like.dtype.type(1)) * weights[n])


def _run(loop: Any, x: Tensor, *given: Tensor) -> None:
    N, V = x.shape
    like = raveled(torch.empty(0, dtype=state_dtype(x)))
    parallel_for(loop, -(-N // BLOCK), N * V // LIGHT, like, raveled(x), *map(raveled, given), N, V)


class _CrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, targets: Tensor) -> Tensor:  # pyright: ignore
        nats, sums = (torch.empty(len(x), dtype=state_dtype(x)) for _ in range(2))
        _run(forward, x, targets, nats, sums)
        ctx.save_for_backward(x, targets, sums)
        return nats

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        x, targets, sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated
            again = cross_entropy_reference(x, targets)
            return torch.autograd.grad(again, x, weights, create_graph=True)[0], None
        dx = torch.empty_like(x)
        _run(backward, x, targets, sums, weights.contiguous(), dx)
        return dx, None


def cross_entropy(x: Tensor, targets: Tensor) -> Tensor:
    """Targets at or above V, which no loop may look up, are a ValueError."""
    targets = targets.long().contiguous()
    if len(targets) and int(targets.max()) >= x.shape[1]:
        raise ValueError(f"target {int(targets.max())} of {x.shape[1]} scores")
    return _CrossEntropy.apply(x, targets)  # pyright: ignore[reportReturnType]
