"""What probes share: ids on the model's device and the nats of every token of a row; pairs and what is said of them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, UsageError

Arrays = dict[str, np.ndarray]


def ids(model: Any, data: Any) -> Tensor:
    """The data as int64 ids on the device of the model, which reads nothing else."""
    if getattr(model, "towers", None):
        raise UsageError(f"a probe shows a model ids alone, and the tower {next(iter(model.towers))} reads its own")
    tokens = torch.as_tensor(data if isinstance(data, Tensor) else np.asarray(data, np.int64))
    device = next((p.device for p in model.parameters()), tokens.device)
    return tokens.to(device, torch.long)


def rows_of(model: Any, data: Any, least: int) -> Tensor:
    """The data as rows (n,L) of at least so many tokens."""
    tokens = ids(model, data)
    if tokens.dim() != 2 or not len(tokens) or tokens.shape[1] < least:
        raise UsageError(f"a probe reads rows of {least} tokens or more, not data of shape {tuple(tokens.shape)}")
    return tokens


def inputs_of(model: Any, data: Any) -> Tensor:
    """The data as rows (n,L) of ids, or where they are vectors (n,L,C) as those, in the model's precision."""
    rows = torch.as_tensor(data)
    if not rows.is_floating_point():
        return rows_of(model, rows, 1)
    like = next(model.parameters())
    if rows.dim() != 3 or not rows.numel():
        raise UsageError(f"a probe reads rows (n, L, C) of vectors, not data of shape {tuple(rows.shape)}")
    return rows.to(like.device, like.dtype)


def batch_of(model: Any, data: Any, least: int = 1) -> Batch:
    """The data as a batch: rows of ids, or a batch of anything that a model reads, as it is."""
    return data if isinstance(data, Batch) else Batch(rows_of(model, data, least))


def pairs_of(model: Any, data: Any) -> Tensor:
    """The data as rows (n, 2 P, d + 1) of vectors (0, x) and numbers (y, 0) in turns, in the model's precision."""
    like = next(model.parameters())
    rows = torch.as_tensor(data).to(like.device, like.dtype)
    if rows.dim() != 3 or not len(rows) or rows.shape[1] < 4 or rows.shape[1] % 2 or rows.shape[2] < 2:
        raise UsageError(f"a probe reads rows (n, 2 pairs, dim + 1) of pairs, not data of shape {tuple(rows.shape)}")
    return rows


@torch.no_grad()
def values(model: Any, rows: Tensor, batch: int) -> np.ndarray:
    """(n,P): what a model says at every x of such rows."""
    said = [model(Batch(piece)).prediction["values"][:, ::2, 0].double() for piece in rows.split(batch)]
    return torch.cat(said).cpu().numpy()


@torch.no_grad()
def nats(model: Any, rows: Tensor, batch: int) -> np.ndarray:
    """(n,L-1): what each token but the first of a row costs after those before it."""
    found = [next_nats(model(piece).logits, piece) for piece in rows.split(batch)]
    return torch.cat(found).cpu().numpy()


def next_nats(logits: Tensor, rows: Tensor) -> Tensor:
    """(n,L-1): the same of what was said of rows (n,L) by logits (n,L,V)."""
    said = logits[:, :-1].double().flatten(0, 1)
    return cross_entropy(said, rows[:, 1:].flatten(), reduction="none").view(len(rows), -1)
