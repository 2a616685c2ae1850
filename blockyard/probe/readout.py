"""Where in the layers can the weights of a context be read?

    said = R(sum_t softmax(a)_t h_t)        h: the stream after a step; a: learned, a number a place; R: linear, or MLP
    PATH:products      R^2 of X'y / P           PATH:weights      R^2 of the least squares' w
    PATH:... shuffled  the same for the targets of other rows: what the probe can do without the model

Half of the rows teach, the others are scored; `stem` is the stream before the first step. That the stream tells w is
no finding by itself: hold it against `... shuffled`, against `stem`, and against the same probe of a model that was
trained on rows of one w, which had nothing to learn from its context.

Source   arXiv 2211.15661    Slug  icl-linear
Family   probes
Differs  a linear readout is solved for at every step of the places, with a light ridge
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Natural
from blockyard.predictor import least_squares
from blockyard.probe._inside import STREAM, read_all
from blockyard.probe._read import Arrays, pairs_of
from blockyard.probe._ridge import share_explained, solved, standard

reads = "frames"
RATES = 0.1, 0.01  # of the places, and of a readout that learns


def readout_probe(
    model: Any, data: Any, *, inner: Annotated[Count, "channels inside the readout; none: it is linear"] | None = None,
    steps: Annotated[Count, "steps of its training"] = 60, seed: Annotated[Natural, "of what is drawn"] = 0,
    batch: Annotated[Count, "rows at once"] = 256,
) -> Arrays:  # fmt: skip
    """R^2 by layer of what is read off rows (n, 2 P, d + 1) of pairs."""
    rows = pairs_of(model, data)
    if len(rows) < 4:
        raise UsageError(f"a readout is taught on half of the rows and scored on the rest: 4 or more, not {len(rows)}")
    plain = rows.double().cpu().numpy()
    x, y = plain[:, ::2, 1:], plain[:, 1::2, 0]
    goals = {"products": (x * y[..., None]).mean(1), "weights": least_squares(x, y)}
    found: Arrays = {}
    for path, h in read_all(model, Batch(rows), STREAM, batch).items():
        for name, goal in goals.items():
            goal = torch.from_numpy(goal)
            found[f"{path}:{name}"] = np.array(explained(h, goal, inner, steps, seed))
            found[f"{path}:{name} shuffled"] = np.array(explained(h, goal.roll(1, 0), inner, steps, seed))
    return found


def explained(h: Tensor, goal: Tensor, inner: int | None, steps: int, seed: int) -> float:
    """R^2 on the second half of the rows of a readout that was taught on the first: h (n,T,D), goal (n,d)."""
    half = len(h) // 2
    h, goal = standard(h, h[:half].flatten(0, 1)), standard(goal, goal[:half])
    with torch.enable_grad():
        said = (_solved if inner is None else _trained(inner, seed))(h[:half], goal[:half], h[half:], steps)
    return share_explained(said, goal[half:])


def _pooled(h: Tensor, places: Tensor) -> Tensor:
    """(n,D) the tokens by the softmax of their places."""
    return torch.einsum("ntd,t->nd", h, places.softmax(0))


def _solved(h: Tensor, goal: Tensor, test: Tensor, steps: int) -> Tensor:
    """The best linear readout of every pooling, of which the places follow the slope."""
    places = torch.zeros(h.shape[1], dtype=h.dtype, requires_grad=True)
    adam = torch.optim.Adam([places], RATES[0])

    def readout() -> tuple[Tensor, Tensor]:
        z = _pooled(h, places)
        return z, solved(z, goal)

    for _ in range(steps):
        z, weight = readout()
        adam.zero_grad()
        (z @ weight - goal).square().mean().backward()
        adam.step()
    with torch.no_grad():
        return _pooled(test, places) @ readout()[1]


def _trained(inner: int, seed: int) -> Any:
    """A readout of two layers, whose numbers and places learn together."""

    def fit(h: Tensor, goal: Tensor, test: Tensor, steps: int) -> Tensor:
        draw, sizes = torch.Generator().manual_seed(seed), ((h.shape[2], inner), (inner, goal.shape[1]))
        first, second = (torch.randn(*size, generator=draw, dtype=h.dtype) * size[0] ** -0.5 for size in sizes)
        learnt = [torch.zeros(h.shape[1], dtype=h.dtype), first, torch.zeros(inner, dtype=h.dtype), second]
        places, first, bias, second = [each.requires_grad_() for each in learnt]
        adam = torch.optim.Adam([dict(params=[each], lr=RATES[each is not places]) for each in learnt])

        def said(x: Tensor) -> Tensor:
            return (_pooled(x, places) @ first + bias).relu() @ second

        for _ in range(steps):
            adam.zero_grad()
            (said(h) - goal).square().mean().backward()
            adam.step()
        with torch.no_grad():
            return said(test)

    return fit
