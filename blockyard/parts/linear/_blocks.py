"""Block-diagonal matrices: their product, and the axes that they fix."""

from torch import Tensor

from blockyard.core import Expr, Site

WHY = "its runs of channels have matrices of their own"


def blocked(x: Tensor, weight: Tensor) -> Tensor:
    """x (..., b, M) by the b blocks of weight (b N, M), one over the other: (..., b, N)."""
    each = weight.to(x.dtype).unflatten(0, (x.shape[-2], -1))
    rows = x.flatten(0, -3).transpose(0, 1) if x.dim() > 2 else x[:, None]
    y = (rows @ each.transpose(1, 2)).transpose(0, 1)
    return y.reshape(*x.shape[:-1], each.shape[1])


def hold(site: Site, sides: tuple[Expr, ...], own: tuple[str, ...]) -> None:
    """Neither what a block-diagonal matrix reads and writes nor what lies between changes by itself."""
    for side in sides:
        for axis in side.leaves():
            axis.fixed = axis.fixed or WHY
    for name in own:
        site.context.axes[site.child(name)].fixed = WHY
