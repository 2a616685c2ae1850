"""The memory of recurrent mixers: how each token transforms it, how long it lasts, how much of it is used.

    S_t = A_t S_{t-1} + what the token writes        A_t = diag(a_t), or a_t (I - b_t k_t k_t^T), or
                                                     diag(a_t) - (r_t * e_t) e_t^T, which is similar to a symmetric one

    eigenvalues (B,T,H,M)   of A_t, those that are equal once; `multiplicity` (M,) says how many they stand for
                            (H: the heads; of a memory (B,channels,states): the channels)
    influence (H,T)         sqrt(mean |A_t ... A_1 u|^2) over rows and unit directions u: what is left of a state
    horizon (H,)            tokens until the influence is 1/2; beyond T, from the mean log decay over the T tokens
    rank (B,H)              exp of the entropy of the singular values of the last state, as shares of their sum
                            (of a memory (B,channels,states): (B,1))
    bytes ()                of one row of the step's state, convolution tails included

Names are `<path of the part>:<name>`; of a later loop of a step, `<path>@<loop>:<name>`. What A_t is follows from the
points `decay` (logarithms), `beta` with `k`, `rate` with `erased`, or `dt`; a mixer with a memory and none of these has
a fixed diagonal A, which is measured on a memory of ones. Steps without a recurrent memory, such as attention, are left
out.

Source   arXiv 2411.12537 (eigenvalues of the transition); Roy and Vetterli 2007 (effective rank)
Family   probes
Differs  what is read are the recorded decays, keys and steps of a model, not a fit to its outputs
"""

import math
from collections.abc import Collection
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blockyard.core.errors import unknown
from blockyard.core.state import tensors
from blockyard.probe._read import Arrays, rows_of

READ = ("decay", "beta", "k", "dt", "rate", "erased")
FACTS = ("eigenvalues", "multiplicity", "influence", "horizon", "rank", "bytes")


class Transition(NamedTuple):
    """log a_t = pace_t * rate. With beta (B,T,H) a share of what is left is erased along the keys k (B,T,H,K); with
    beta (B,T,H,K) a share for each channel, of what was there before."""

    pace: Tensor  # (B,T,H,M), or (B,T,H,1) where the rate tells the directions apart
    rate: Tensor  # (H,M) or (1,)
    beta: Tensor | None = None
    k: Tensor | None = None

    @property
    def symmetric(self) -> Tensor:
        """(B,T,H,K,K) with the eigenvalues of A_t: with W = diag(sqrt beta) it is W^-1 A W."""
        assert self.beta is not None and self.k is not None
        key = self.beta.clamp(min=0).sqrt() * self.k
        return torch.diag_embed((self.pace * self.rate).exp()) - key[..., :, None] * key[..., None, :]


@torch.no_grad()
def state_probe(
    model: Any, data: Any, *, facts: Annotated[tuple[str, ...], "which of them; none: all"] | None = None
) -> Arrays:
    """What the recurrent steps of a model do with their memories on rows (B,T) of tokens.

    Eigenvalues are by far the largest of the facts (one for every token and direction): ask for fewer where a model
    is large.
    """
    facts = FACTS if facts is None else facts
    for fact in facts:
        if fact not in FACTS:
            raise unknown("fact", fact, FACTS)
    rows = rows_of(model, data, 1)
    parts = {index: unit.part for index, unit in enumerate(model.steps)}
    points = {f"{p.path}:{name}": "read" for p in parts.values() for name in READ if name in p.points}
    out = model(rows, model.init_state(len(rows)), points=points)
    found: Arrays = {}
    for address, leaves in out.state.leaves.items():
        memory = leaves.get("memory") if isinstance(address, tuple) else None
        if not isinstance(memory, Tensor):
            continue
        part = parts[address[0]]
        captured = {name: out.captures.get((*address, part.path, name)) for name in READ}
        path = part.path if address[1] == 0 else f"{part.path}@{address[1]}"
        size = sum(t[0].numel() * t.element_size() for t in tensors(leaves))
        told = {**_facts(_transition(part, captured, memory, rows.shape[1]), memory, facts), "bytes": np.array(size)}
        found |= {f"{path}:{name}": told[name] for name in FACTS if name in facts}
    return found


def _transition(part: Any, captured: dict[str, Tensor | None], memory: Tensor, length: int) -> Transition:
    decay, beta, k, dt, rate, erased = (None if v is None else v.double() for v in captured.values())
    plain = torch.ones(1, dtype=torch.float64, device=memory.device)
    if decay is not None and rate is not None and erased is not None:
        return Transition(decay, plain, rate, erased)
    if beta is not None and k is not None:
        return Transition((torch.zeros_like(beta) if decay is None else decay)[..., None], plain, beta, k)
    if decay is not None:
        return Transition(decay, plain)
    if dt is not None:
        return Transition(dt[..., None], -part.A_log.double().exp())
    return Transition(plain.expand(len(memory), length, *memory.shape[1:2], 1), _fixed(part, memory).log())


def _fixed(part: Any, memory: Tensor) -> Tensor:
    """(H,K): what one token leaves of a memory of ones, where A does not depend on the token."""
    x = memory.new_zeros(1, 1, part.stream.size, dtype=next(part.parameters()).dtype)
    empty, full = (
        part(x, None, {"memory": fill(memory[:1])})[1]["memory"] for fill in (torch.zeros_like, torch.ones_like)
    )
    return (full - empty)[0, ..., 0].double()


def _facts(moves: Transition, memory: Tensor, facts: Collection[str]) -> Arrays:
    found: Arrays = {}
    if "eigenvalues" in facts or "multiplicity" in facts:
        values, times = _eigenvalues(moves, memory.shape[-2] if memory.dim() == 4 else memory.shape[-1])
        found |= {"eigenvalues": values.cpu().numpy(), "multiplicity": np.array(times)}
    if "influence" in facts or "horizon" in facts:
        found["influence"] = _influence(moves).cpu().numpy()
        found["horizon"] = _horizon(found["influence"])
    if "rank" in facts:
        matrices = memory.double() if memory.dim() == 4 else memory.double()[:, None]
        found["rank"] = _rank(matrices).cpu().numpy()
    return found


def _eigenvalues(moves: Transition, inner: int) -> tuple[Tensor, list[int]]:
    a = (moves.pace * moves.rate).exp()
    if moves.beta is None or moves.k is None:
        return a, [inner // a.shape[-1]] * a.shape[-1]
    if moves.beta.dim() == moves.k.dim():
        return torch.linalg.eigvalsh(moves.symmetric), [1] * inner
    return torch.cat([a, a * (1 - moves.beta * moves.k.square().sum(-1))[..., None]], -1), [inner - 1, 1]


def _influence(moves: Transition) -> Tensor:
    """(H,T). Row by row where A_t is diagonal: (T,H,M) of a large model is much."""
    if moves.beta is not None:
        return _left_of(moves, (moves.pace * moves.rate).exp()).sqrt().T
    rows = [(2 * pace.cumsum(0) * moves.rate).exp_().mean(-1) for pace in moves.pace]
    return torch.stack(rows).mean(0).sqrt().T


def _left_of(moves: Transition, a: Tensor) -> Tensor:
    """(T,H): the mean square of A_t ... A_1, which do not commute, over rows and directions."""
    assert moves.beta is not None and moves.k is not None
    rows, length, heads, size = moves.k.shape
    product = torch.eye(size, dtype=a.dtype, device=a.device).expand(rows, heads, size, size)
    left = []
    first = moves.beta.dim() < moves.k.dim()  # erased from what is left, else from what was there before
    beta = moves.beta[..., None] * a if first else moves.beta
    for t in range(length):
        k = moves.k[:, t, :, :, None]
        erased = beta[:, t, :, :, None] * k * (k.transpose(-1, -2) @ product)
        product = a[:, t, :, :, None] * product - erased
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
