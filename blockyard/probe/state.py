"""The memory of recurrent mixers: how each token transforms it, how long it lasts, how much of it is used.

    S_t = A_t S_{t-1} + what the token writes        A_t = diag(a_t), or a_t (I - b_t k_t k_t^T)

    eigenvalues (B,T,H,M)   of A_t, those that are equal once; `multiplicity` (M,) says how many they stand for
                            (H: the heads; of a memory (B,channels,states): the channels)
    influence (H,T)         sqrt(mean |A_t ... A_1 u|^2) over rows and unit directions u: what is left of a state
    horizon (H,)            tokens until the influence is 1/2; beyond T, from the mean log decay over the T tokens
    rank (B,H)              exp of the entropy of the singular values of the last state, as shares of their sum
                            (of a memory (B,channels,states): (B,1))
    bytes ()                of one row of the step's state, convolution tails included

Names are `<path of the part>:<name>`; of a later loop of a step, `<path>@<loop>:<name>`. What A_t is follows from the
points `decay` (logarithms), `beta` with `k`, or `dt`; a mixer with a memory and none of these has a fixed
diagonal A, which is measured on a memory of ones. Steps without a recurrent memory, such as attention, are left out.

Source   arXiv 2411.12537 (eigenvalues of the transition); Roy and Vetterli 2007 (effective rank)
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blockyard.core.state import tensors
from blockyard.probe._read import Arrays, rows_of

READ = ("decay", "beta", "k", "dt")


class Transition(NamedTuple):
    """log_a (B,T,H,M); with beta (B,T,H), what is erased along the keys k (B,T,H,K)."""

    log_a: Tensor
    beta: Tensor | None = None
    k: Tensor | None = None


@torch.no_grad()
def state_probe(model: Any, data: Any) -> Arrays:
    """What the recurrent steps of a model do with their memories on rows (B,T) of tokens."""
    rows = rows_of(model, data, 1)
    parts = {index: unit.part for index, unit in enumerate(model.steps)}
    points = {f"{p.path}:{name}": "read" for p in parts.values() for name in READ if name in p.points}
    out = model(rows, model.init_state(len(rows)), points=points)
    found: Arrays = {}
    for place, leaves in out.state.leaves.items():
        memory = leaves.get("memory") if isinstance(place, tuple) else None
        if not isinstance(memory, Tensor):
            continue
        part = parts[place[0]]
        noted = {name: out.notes.get((*place, part.path, name)) for name in READ}
        path = part.path if place[1] == 0 else f"{part.path}@{place[1]}"
        for name, value in _facts(_transition(part, noted, memory, rows.shape[1]), memory).items():
            found[f"{path}:{name}"] = value
        found[f"{path}:bytes"] = np.array(sum(t[0].numel() * t.element_size() for t in tensors(leaves)))
    return found


def _transition(part: Any, noted: dict[str, Tensor | None], memory: Tensor, length: int) -> Transition:
    decay, beta, k, dt = (None if v is None else v.double() for v in noted.values())
    if beta is not None and k is not None:
        log_a = torch.zeros_like(beta) if decay is None else decay
        return Transition(log_a[..., None], beta, k)
    if decay is not None:
        return Transition(decay)
    if dt is not None:
        return Transition(dt[..., None] * -part.log_rate.double().exp())
    kept = _fixed(part, memory).log()
    return Transition(kept.expand(len(memory), length, *kept.shape))


def _fixed(part: Any, memory: Tensor) -> Tensor:
    """(H,K): what one token leaves of a memory of ones, where A does not depend on the token."""
    x = memory.new_zeros(1, 1, part.stream.size, dtype=next(part.parameters()).dtype)
    empty, full = (
        part(x, None, {"memory": fill(memory[:1])})[1]["memory"] for fill in (torch.zeros_like, torch.ones_like)
    )
    return (full - empty)[0, ..., 0].double()


def _facts(moves: Transition, memory: Tensor) -> Arrays:
    a, inner = moves.log_a.exp(), memory.shape[-2] if memory.dim() == 4 else memory.shape[-1]
    if moves.beta is None or moves.k is None:
        values, times = a, [inner // a.shape[-1]] * a.shape[-1]
        left = (2 * moves.log_a.cumsum(1)).exp().mean((0, -1))
    else:
        values = torch.cat([a, a * (1 - moves.beta * moves.k.square().sum(-1))[..., None]], -1)
        times = [inner - 1, 1]
        left = _left_of(moves, a[..., 0])
    influence = left.sqrt().T
    matrices = memory.double() if memory.dim() == 4 else memory.double()[:, None]
    return {
        "eigenvalues": values.cpu().numpy(), "multiplicity": np.array(times), "influence": influence.cpu().numpy(),
        "horizon": _horizon(influence.cpu().numpy()), "rank": _rank(matrices).cpu().numpy(),
    }  # fmt: skip


def _left_of(moves: Transition, a: Tensor) -> Tensor:
    """(T,H): the mean square of A_t ... A_1, which do not commute, over rows and directions."""
    assert moves.beta is not None and moves.k is not None
    rows, length, heads, size = moves.k.shape
    product = torch.eye(size, dtype=a.dtype, device=a.device).expand(rows, heads, size, size)
    left = []
    for t in range(length):
        k = moves.k[:, t, :, :, None]
        erased = moves.beta[:, t, :, None, None] * k * (k.transpose(-1, -2) @ product)
        product = a[:, t, :, None, None] * (product - erased)
        left.append(product.square().sum((-1, -2)).mean(0) / size)
    return torch.stack(left)


def _horizon(influence: np.ndarray) -> np.ndarray:
    """(H,): where the influence passes 1/2, between tokens by a straight line of its logarithm."""
    found = []
    for curve in influence:
        logs = np.concatenate([[0.0], np.log(np.maximum(curve, 1e-300))]) / -math.log(2)  # 1: half is left
        if logs[-1] < 1:
            found.append(math.inf if logs[-1] < 1e-12 else len(curve) / logs[-1])
        else:
            after = int(np.argmax(logs >= 1))
            found.append(after - (logs[after] - 1) / (logs[after] - logs[after - 1]))
    return np.array(found)


def _rank(matrices: Tensor) -> Tensor:
    """exp(entropy) of the singular values, 0 of an empty memory."""
    sizes = torch.linalg.svdvals(matrices)
    total = sizes.sum(-1)
    share = sizes / total.clamp(min=1e-300)[..., None]
    return torch.where(total > 0, torch.special.entr(share).sum(-1).exp(), 0.0)
