"""Which rule does a model that learns from its context imitate?

    from RULE        (P,)  mean (f - f_rule)^2 / mean y^2 over rows, at every x, by the pairs before it: 0..P-1
    error            (P,)  mean (f - y)^2 / mean y^2
    weights RULE     (P,)  mean |w - w_rule|^2 of a model's own w, fitted to what it says of other x in one context
    unexplained      (P,)  the share of what it says there that no w explains: 0 for a model that is linear in x

Rows are (0, x_1) (y_1, 0) (0, x_2) ..., as `task:regression` draws them; what counts is said at the x. The rules are
those of `blockyard.predictor.rules`; weights have only those that are linear in x. Compare rules at one number of
pairs: differences shrink as pairs are added, whatever the rule. The other x are those of the last rows.

Source   arXiv 2211.15661    Slug  icl-linear
Family   probes
Differs  shares of the mean square of y
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core.settings import Count, NonNegative
from blockyard.predictor import along, implied_weights, rules, squared_difference
from blockyard.probe._read import Arrays, pairs_of, values

reads = "frames"


def imitation_probe(
    model: Any, data: Any, *, noise: Annotated[NonNegative, "the deviation of the noise that rules reckon with"] = 0.5,
    neighbours: Annotated[Count, "pairs that count as near"] = 3,
    contexts: Annotated[Count, "rows whose weights are fitted"] = 8, batch: Annotated[Count, "rows at once"] = 256,
) -> Arrays:  # fmt: skip
    """How far a model is from each rule on rows (n, 2 P, d + 1) of pairs, by the number of pairs before."""
    rows = pairs_of(model, data)
    x, y = _plain(rows)
    said, scale, known = values(model, rows, batch), float(np.square(y).mean()), rules(noise, neighbours)
    found = {"error": squared_difference(said, y) / scale}
    found |= {f"from {name}": squared_difference(said, along(rule, x, y)) / scale for name, rule in known.items()}
    linear = {name: rule for name, rule in known.items() if name not in ("nearest", "zero")}
    own, left = model_weights(model, rows, contexts, batch)
    for name, rule in linear.items():
        axes = np.broadcast_to(np.eye(x.shape[-1]), (len(own), x.shape[-1], x.shape[-1]))
        ruled = [rule(x[: len(own), :i], y[: len(own), :i], axes) for i in range(x.shape[1])]
        found[f"weights {name}"] = np.square(own - np.stack(ruled, 1)).sum(-1).mean(0)
    return {**found, "unexplained": left.mean(0)}


def closest(found: Arrays) -> list[str]:
    """The rule that a model is nearest to, after every number of pairs, as the probe found; with none all agree."""
    names = [name for name in found if name.startswith("from ")]
    return [names[i].removeprefix("from ") for i in np.stack([found[name] for name in names]).argmin(0)]


def model_weights(model: Any, rows: Tensor, contexts: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """(C,P,d) the weights behind what a model says of other x after the first 0..P-1 pairs of the first C rows, and
    (C,P) what they leave unexplained."""
    dim, pairs = rows.shape[2] - 1, rows.shape[1] // 2
    count = min(4 * dim, len(rows) * pairs)
    asked = rows[:, ::2].flatten(0, 1)[-count:]  # (Q,d+1)
    shown = rows[:contexts]
    queries = np.broadcast_to(asked[:, 1:].double().cpu().numpy(), (len(shown), count, dim))
    found = []
    for i in range(pairs):
        before = shown[:, None, : 2 * i].expand(-1, count, -1, -1)
        line = torch.cat([before, asked[None, :, None].expand(len(shown), -1, 1, -1)], 2).flatten(0, 1)
        found.append(implied_weights(queries, values(model, line, batch)[:, -1].reshape(len(shown), count)))
    own, left = zip(*found)
    return np.stack(own, 1), np.stack(left, 1)


def _plain(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(n,P,d) the vectors and (n,P) the numbers."""
    plain = rows.double().cpu().numpy()
    return plain[:, ::2, 1:], plain[:, 1::2, 0]
