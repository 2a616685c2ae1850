"""Which tokens does attention favour: those that stand in every context, or those that tell what comes next?

    frequency_l                 the share of contexts' tokens that are l
    distinct_l                  max_n P(n | l): how surely l tells what follows; 1: it stands under one n alone
    PATH:lift_hl                the attention that falls on l, in units of what even attention would give it
    PATH:order_h                the rank correlation of lift and frequency among tokens with distinct_l above `above`;
                                no number where all lifts are the same
    PATH:shared_h               the mean lift of the others, by how often they stand there

A row is a context whose last token but one attends and whose last one follows. What a token tells may depend on who
asks: with `query` only rows are read in which that token attends. Tokens that no context has are no number.

Source   arXiv 2305.16380    Slug  scan-and-snap
Family   probes
Differs  of real attention, so lift and not the score itself is ranked
"""

from typing import Annotated, Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from blockyard.core import UsageError
from blockyard.core.settings import Count, Fraction, Natural
from blockyard.probe._read import Arrays, rows_of
from blockyard.probe.attention_entropy import weight_points


@torch.no_grad()
def token_frequency_probe(
    model: Any, data: Any, *, query: Annotated[Natural, "the token that attends; none: any"] | None = None,
    above: Annotated[Fraction, "how surely a token tells what follows that counts as distinct"] = 0.9,
    batch: Annotated[Count, "rows at once"] = 64,
) -> Arrays:  # fmt: skip
    """Of rows (n,L) of ids: frequency, distinct (V); of every step that attends lift (H,V), order and shared (H)."""
    rows = rows_of(model, data, 3)
    rows = rows if query is None else rows[rows[:, -2] == query]
    if not len(rows):
        raise UsageError(f"token_frequency: in no row is {query} the last token but one")
    vocab, context = model.axes["stem.vocab"].size, rows[:, :-1]
    counts, told = told_of(context.cpu().numpy(), rows[:, -1].cpu().numpy(), vocab)
    frequency, lifts = counts / counts.sum(), dict[str, Tensor]()
    points = weight_points(model)
    for piece in context.split(batch) if points else ():
        for (_, loop, path, _), weights in model(piece, points=points).captures.items():
            name = f"{path}@{loop}" if loop else path
            lifts[name] = lifts.get(name, 0) + _by_token(weights[:, :, -1].double(), piece, vocab)
    found: Arrays = {"frequency": frequency, "distinct": told}
    even = _by_token(torch.full(context.shape, 1 / context.shape[1], dtype=torch.float64)[:, None], context, vocab)
    for name, total in lifts.items():
        lift = (total / even).cpu().numpy()
        found[f"{name}:lift"] = np.where(counts > 0, lift, np.nan)
        found |= _ranked(name, lift, frequency, told, above)
    return found


def told_of(context: np.ndarray, follows: np.ndarray, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """(V,) how often each token stands in contexts (n,S), and the largest share of one token that follows (n,)."""
    pairs = np.zeros((vocab, vocab))
    np.add.at(pairs, (context, follows[:, None]), 1)
    counts = pairs.sum(1)
    with np.errstate(invalid="ignore"):
        return counts, pairs.max(1) / counts


def _by_token(weights: Tensor, tokens: Tensor, vocab: int) -> Tensor:
    """(H,V) the weights (B,H,S) that fall on each token of rows (B,S)."""
    found = torch.zeros(len(tokens), weights.shape[1], vocab, dtype=weights.dtype, device=weights.device)
    return found.scatter_add(2, tokens.to(weights.device)[:, None].expand(weights.shape), weights).sum(0)


def _ranked(name: str, lift: np.ndarray, frequency: np.ndarray, told: np.ndarray, above: float) -> Arrays:
    """The figures of one step's heads."""
    seen = frequency > 0
    own, others = seen & (told > above), seen & ~(told > above)
    ranks = [rankdata(each) for each in (*lift[:, own], frequency[own])]
    with np.errstate(invalid="ignore", divide="ignore"):  # of even attention there is no order
        order = [np.corrcoef(each, ranks[-1])[0, 1] if own.sum() > 2 else np.nan for each in ranks[:-1]]
    shared = (
        (lift[:, others] * frequency[others]).sum(1) / frequency[others].sum() if others.any() else [np.nan] * len(lift)
    )
    return {f"{name}:order": np.array(order), f"{name}:shared": np.array(shared)}
