"""Attention and a decoder that learn what follows from what stood before: their gradients in closed form.

    a_nl = p_nl exp(z_l)        f_n = a_n / |a_n|        s_n = softmax(f_n Y)        r_n = (e_n - s_n) / K
    down the cross-entropy:  dY = sum_n f_n r_n        dz_l = sum_n f_nl (g_nl - g_n . f_n f_nl),  g_n = Y r_n

p_nl says how often token l stands in a context that n follows, so a is what attention by the scores z of one query
counts in an endless row; the unit length plays the part of a norm. Of these the sum of dz is zero, since a shift of z
changes nothing, and with one class alone all of them are.

Shapes   p (K,M) of K classes and M tokens   z (M)   Y (M,C), C >= K: classes that never follow may be among them
Source   arXiv 2305.16380    Slug  scan-and-snap    Family  in context
Differs  all classes are as frequent
"""

from typing import NamedTuple

import numpy as np


class Pull(NamedTuple):
    """How scores z (M) and decoder Y (M,C) are pulled down the loss, and that loss in nats."""

    scores: np.ndarray
    decoder: np.ndarray
    loss: float


class Path(NamedTuple):
    """scores (S+1,M) and losses (S+1,) before every step and after the last, and the decoder at last (M,C)."""

    scores: np.ndarray
    losses: np.ndarray
    decoder: np.ndarray


def attended(p: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(K,M) f: what attention by these scores counts in the context of each class, of unit length."""
    a = p * np.exp(z - z.max())
    return a / np.sqrt(np.square(a).sum(1, keepdims=True))


def pull(p: np.ndarray, z: np.ndarray, decoder: np.ndarray) -> Pull:
    """The gradients at a point, with their sign turned."""
    f = attended(p, z)
    logits = f @ decoder
    logits = logits - logits.max(1, keepdims=True)
    log_s = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    own = np.eye(len(p), decoder.shape[1])
    r = (own - np.exp(log_s)) / len(p)
    g = r @ decoder.T
    along = (g * f).sum(1, keepdims=True)
    return Pull((f * (g - along * f)).sum(0), f.T @ r, float(-(own * log_s).sum() / len(p)))


def descend(p: np.ndarray, steps: int, decoder_rate: float, score_rate: float, classes: int | None = None) -> Path:
    """So many steps of gradient descent from scores and a decoder of zeros; `classes`: C, where it is not K."""
    z, y = np.zeros(p.shape[1]), np.zeros((p.shape[1], classes or len(p)))
    scores, losses = [z], list[float]()
    for _ in range(steps):
        found = pull(p, z, y)
        z, y = z + score_rate * found.scores, y + decoder_rate * found.decoder
        scores.append(z)
        losses.append(found.loss)
    return Path(np.stack(scores), np.array([*losses, pull(p, z, y).loss]), y)
