"""How far does a step of the model move a softmax over its tokens, beside a step of gradient descent?

    A, A'   the stream of a row (T,D) before and after a step        x drawn, of length `size`
    PATH:shift    |f_A' - f_A|, f_A = softmax(A x)        PATH:bound    |x| |A' - A|_2 / 2, which it never passes
    PATH:step     |f_A(x + dx) - f_A|: x goes down the slope of |f_A - f_A'|^2 / 2, as far as has the same bound:
                  |dx| = |x| |A' - A|_2 / |A|_2
    PATH:cosine   between the two moves: 1 where the step on x does what the step of the model does

Means over draws of x, a figure a row. That two moves have one bound is no sign that they are alike. The cosine tells
more, but of any small move it is above 0, whatever made it, and near 1 with many channels to a token: hold it beside
that of a model that was not trained.

Source   arXiv 2304.13276    Slug  icl-softmax-regression
Family   probes
Differs  the bound by the Jacobian's norm; steps on x towards what the model's own step leads to
"""

from typing import Annotated, Any

import numpy as np

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Natural, Positive
from blockyard.predictor.softmax_regression import gradient, rows_bound, weights_of
from blockyard.probe._inside import STREAM, read_all
from blockyard.probe._read import Arrays, inputs_of


def weight_shift_probe(
    model: Any, data: Any, *, draws: Annotated[Count, "vectors x a row"] = 8,
    size: Annotated[Positive, "the length of x"] = 1.0, seed: Annotated[Natural, "of the draws"] = 0,
    batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """Of every step, on rows of ids (n,L) or of vectors (n,L,C), the four figures (n,)."""
    found: Arrays = {}
    before, draw = None, np.random.default_rng(seed)
    for path, stream in read_all(model, Batch(inputs_of(model, data)), STREAM, batch).items():
        after = stream.numpy()[:, None]  # (n,1,T,D)
        if before is not None:
            if before.shape != after.shape:
                raise UsageError(f"weight_shift: behind {path} there are other tokens or channels than before it")
            x = draw.normal(size=(len(after), draws, after.shape[-1]))
            x *= size / np.linalg.norm(x, axis=-1, keepdims=True)
            found |= {f"{path}:{name}": value.mean(1) for name, value in shifts(before, after, x).items()}
        before = after
    return found


def shifts(before: np.ndarray, after: np.ndarray, x: np.ndarray) -> Arrays:
    """The four figures (...) of a change of the rows (...,T,D) at x (...,D)."""
    change = after - before
    f, goal = weights_of(before, x), weights_of(after, x)
    slope = gradient(before, x, goal)
    far = np.linalg.norm(x, axis=-1) * _norm(change) / np.maximum(_norm(before), np.finfo(float).tiny)
    dx = -slope * (far / np.maximum(np.linalg.norm(slope, axis=-1), np.finfo(float).tiny))[..., None]
    by_model, by_step = goal - f, weights_of(before, x + dx) - f
    sizes = [np.linalg.norm(each, axis=-1) for each in (by_model, by_step)]
    cosine = (by_model * by_step).sum(-1) / np.maximum(sizes[0] * sizes[1], np.finfo(float).tiny)
    return {"shift": sizes[0], "bound": rows_bound(change, x), "step": sizes[1], "cosine": cosine}


def _norm(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, 2, axis=(-2, -1))
