"""Two thin matrices whose product starts at zero: what attachments of low rank share.

A (rank, reads) ~ U(-1, 1) / sqrt(fan_in)        B (writes, rank) = 0
"""

from typing import Any

from blockyard.core import Expr, Site, constant, uniform_in


def thin(site: Site, reads: Expr, writes: Expr, rank: int) -> tuple[Any, Any]:
    """`down` and `up`, with the axis of the rank between them."""
    inner, bound = site.axis("rank", rank), reads.size**-0.5
    down = site.param("down", (inner, reads), uniform_in(-bound, bound), decay=True, reads=reads, writes=inner)
    return down, site.param("up", (writes, inner), constant(0.0), decay=True, reads=inner, writes=writes)
