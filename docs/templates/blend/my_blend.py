"""Of every number the one of the model in which it is largest.

    w = w_i        i the first model with the largest |w_i|

Source   none
Family   merges
Differs  nothing known
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from blockyard.blend._base import Blend, Tensors


class MyBlend(Blend):
    """It is given tensors by path, of every model, and gives one for each path; `base` is empty without `based`."""

    def __call__(self, models: Sequence[Tensors], base: Tensors) -> dict[str, Tensor]:
        mixed = {}
        for path in models[0]:
            every = torch.stack([model[path] for model in models])
            mixed[path] = every.gather(0, every.abs().argmax(0, keepdim=True))[0]
        return mixed
