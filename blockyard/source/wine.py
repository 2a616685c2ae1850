"""178 wines of three growers by 13 measurements, as scikit-learn ships them.

Source   Forina et al. 1988    Family  vectors
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.items import Items
from blockyard.source._base import Source
from blockyard.source._packaged import held_vectors, installed


class Wine(Source):
    gives = "items"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        return held_vectors(installed("sklearn.datasets", "scikit-learn", "wine comes").load_wine(), "wine")
