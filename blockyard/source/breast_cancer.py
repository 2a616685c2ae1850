"""569 tumours, malignant or benign, by 30 measurements of their cells, as scikit-learn ships them.

Source   Street et al. 1993    Family  vectors
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.items import Items
from blockyard.source._base import Source
from blockyard.source._packaged import held_vectors, installed


class BreastCancer(Source):
    gives = "items"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        return held_vectors(
            installed("sklearn.datasets", "scikit-learn", "breast_cancer comes").load_breast_cancer(), "breast_cancer"
        )
