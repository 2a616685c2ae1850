"""What can be read, by a linear map, off the tokens of a layer, pair by pair?

    said_i = R h(x_i)    or    R h(y_i)        h: the stream after a step, at the place of the vector or of its number
    PATH:GOAL at x       R^2 of a goal g_i of every pair        PATH:GOAL at y       the same, read one token later
    PATH:GOAL at x shuffled    of the goals of other rows: what the probe can do without the model

Half of the rows teach, the others are scored; `stem` is the stream before the first step. Without goals of your own
they are `x`, the vectors, and `ridge`, what a ridge says of x_i by the pairs before it.

Source   arXiv 2310.10616    Slug  icl-representations
Family   probes
Differs  the map is solved for, with a light ridge
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, NonNegative
from blockyard.predictor import along, rules
from blockyard.probe._inside import STREAM, read_all
from blockyard.probe._read import Arrays, pairs_of
from blockyard.probe._ridge import share_explained, solved, standard

reads = "frames"


def token_readout_probe(
    model: Any, data: Any, goals: Annotated[Any, "what is read, (n,P,k) by name; none: the usual two"] = None, *,
    noise: Annotated[NonNegative, "the deviation of the noise that the ridge reckons with"] = 0.5,
    batch: Annotated[Count, "rows at once"] = 256,
) -> Arrays:  # fmt: skip
    """R^2 by layer, goal and place, on rows (n, 2 P, d + 1) of pairs."""
    rows = pairs_of(model, data)
    if len(rows) < 4:
        raise UsageError(f"a readout is taught on half of the rows and scored on the rest: 4 or more, not {len(rows)}")
    plain = rows.double().cpu().numpy()
    x, y = plain[:, ::2, 1:], plain[:, 1::2, 0]
    if goals is None:
        goals = {"x": x, "ridge": along(next(iter(rules(noise).values())), x, y)[..., None]}
    asked = {name: torch.as_tensor(np.asarray(goal, np.float64)) for name, goal in goals.items()}
    for name, goal in asked.items():
        if goal.dim() != 3 or goal.shape[:2] != x.shape[:2]:
            raise UsageError(f"goal {name!r} must be {tuple(x.shape[:2])} vectors, not of shape {tuple(goal.shape)}")
    found: Arrays = {}
    for path, h in read_all(model, Batch(rows), STREAM, batch).items():
        for name, goal in asked.items():
            for place, first in (("x", 0), ("y", 1)):
                read = h[:, first::2]
                found[f"{path}:{name} at {place}"] = np.array(explained(read, goal))
                found[f"{path}:{name} at {place} shuffled"] = np.array(explained(read, goal.roll(1, 0)))
    return found


def explained(h: Tensor, goal: Tensor) -> float:
    """R^2 on the second half of the rows of a linear map that was taught on the first: h (n,P,D), goal (n,P,k)."""
    teach = len(h) // 2 * h.shape[1]
    h, goal = (standard(each, each[:teach]) for each in (h.flatten(0, 1), goal.flatten(0, 1)))
    return share_explained(h[teach:] @ solved(h[:teach], goal[:teach]), goal[teach:])
