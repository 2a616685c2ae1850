"""What routers share: the matrix of all experts, and scores in single precision at least, so that choices repeat."""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Axis, Site, UsageError, normal, upcast
from blockyard.kernels import linear


def matrix(site: Site, experts: Axis, top: int = 1) -> Any:
    """W (E,D), for a router by which `top` of the experts run: no more than there are."""
    if top > experts.size:
        raise UsageError(f"{site.path}: top={top} of {experts.size} experts")
    return site.param("weight", (experts, site.stream), normal(0.02), reads=site.stream, writes=experts)


def scores(x: Tensor, weight: Tensor) -> Tensor:
    """x (B,T,D), weight (E,D) -> (B,T,E)."""
    with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
        return linear(upcast(x), upcast(weight))
