"""1,797 handwritten digits of 8 by 8 pixels in 17 shades of grey, as scikit-learn ships them.

Source   Alpaydin and Kaynak 1998    Family  images
Differs  the 1,797 that were the test part of the original; split anew
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.items import Items
from blockyard.source._base import Source
from blockyard.source._packaged import held_images, installed


class Digits(Source):
    gives = "items"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        found = installed("sklearn.datasets", "scikit-learn", "digits come").load_digits()
        return held_images("digits", found.images / 16, found.target, [str(name) for name in found.target_names])
