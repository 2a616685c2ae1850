"""What stems with a table of tokens share: the precision of what is looked up, where the table has none of its own."""

from typing import Any

import torch
from torch import Tensor, nn

from blockyard.core import Site


def precision(site: Site, table: Tensor) -> nn.Buffer | None:
    """A buffer in the precision of all the rest, for a table in few bits; None for one that has its own: it learns."""
    return None if isinstance(table, nn.Parameter) else site.buffer("like", lambda _: torch.zeros(0))


def look_up(stem: Any, ids: Tensor) -> Tensor:
    """The rows (B,T,D) of a stem's table."""
    x = stem.store.embedding(ids, stem.table)
    return x if stem.like is None else x.to(stem.like.dtype)
