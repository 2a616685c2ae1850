"""How many directions does the stream, or an inner value, really use?

    H = U diag(s) V'        p_i = s_i / sum s        (N tokens in all, D channels)
    PATH:effective        exp(- sum p_i ln p_i)              directions, by the spread of the singular values
    PATH:participation    (sum s_i^2)^2 / sum s_i^4          the same of their squares: where the power lies
    PATH:stable           sum s_i^2 / max s_i^2
    PATH:random           the effective rank of normal numbers of this shape: what nothing learned would have

From 1 (all tokens on one line) to min(N, D). With `centred` the mean over tokens is taken out before; a few large
channels that all tokens share otherwise hide the rest.

Source   none (Roy and Vetterli, The effective rank, EUSIPCO 2007); arXiv 2103.03404 (rank of the stream by depth)
Family   probes
Differs  nothing known
"""

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from blockyard.core import UsageError
from blockyard.core.settings import Count, Natural, Word
from blockyard.probe._inside import read_all
from blockyard.probe._read import Arrays, batch_of


def effective_rank_probe(
    model: Any, data: Any, *, at: Annotated[Word, "`stream`, or a pattern of hook points"] = "stream",
    centred: Annotated[bool, "whether the mean over tokens is taken out"] = False,
    seed: Annotated[Natural, "of the normal numbers"] = 0, batch: Annotated[Count, "rows at once"] = 64,
) -> Arrays:  # fmt: skip
    """One number each, on rows (n,L) of ids or a batch of anything: `steps.0.part:effective`."""
    given = batch_of(model, data)
    found: dict[str, float] = {}
    random = dict[Any, float]()
    for name, value in read_all(model, given, at, batch).items():
        h = _tokens(name, value, given.valid)
        h = h - h.mean(0) if centred else h
        for figure, size in ranks(h).items():
            found[f"{name}:{figure}"] = size
        if h.shape not in random:
            drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal(h.shape))
            random[h.shape] = ranks(drawn)["effective"]
        found[f"{name}:random"] = random[h.shape]
    return {name: np.array(size) for name, size in found.items()}


def ranks(h: Tensor) -> dict[str, float]:
    """The three figures of a matrix (N,D); of zeros they are 0."""
    s = torch.linalg.svdvals(h.double())
    if not s.numel() or not s[0]:
        return dict.fromkeys(("effective", "participation", "stable"), 0.0)
    p, power = s / s.sum(), s.square()
    return {
        "effective": float(torch.special.entr(p).sum().exp()),
        "participation": float(power.sum().square() / power.square().sum()),
        "stable": float(power.sum() / power[0]),
    }


def _tokens(name: str, value: Tensor, valid: Tensor | None) -> Tensor:
    """(N,D) the tokens of a value (B,T,...) that count."""
    if value.dim() < 3:
        raise UsageError(f"{name} is {tuple(value.shape)}: no channels of tokens (rows, tokens, ...)")
    h = value.flatten(2)
    return h[valid.cpu()] if valid is not None and valid.shape == h.shape[:2] else h.flatten(0, 1)
