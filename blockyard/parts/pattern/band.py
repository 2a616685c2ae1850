"""A query reads the last so many tokens, and the first ones always.

    j is read by i        i - j < window  or  j < sinks

The own token is one of the window's. Where a query may see ahead, the window reaches as far to that side. A cache keeps
sinks + window - 1 tokens and no more.

Shapes   none: what is read follows from positions
Source   arXiv 2004.05150, 2309.17453    Family  patterns
Differs  the own token counts: some papers' window is one less
"""

from typing import Annotated

from blockyard.core import Site
from blockyard.core.part import Pattern
from blockyard.core.settings import Count, Natural


class Band(Pattern):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    variants = (dict(window=4), dict(window=3, sinks=2))

    def __init__(
        self, site: Site, *,
        window: Annotated[Count, "how many of the last tokens are seen, the own one counted; none: all"] | None = None,
        sinks: Annotated[Natural, "how many of the first tokens are always seen"] = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.window, self.sinks = window, sinks
