"""Are the next likeliest tokens right less often where their keys lie near that of a likelier one?

    keys: the rows of the head's table, in k clusters        at rank r = 2 .. R of every row:
    same[r], other[r]   share of right tokens where a likelier one has the same cluster, and where none has
    gap, error          the mean over ranks of other[r] - same[r], each by n_same n_other / n, and its standard error
    correlation         of E_i.E_top with the logits of the R tokens, the mean over rows
    permuted            the gap where clusters were dealt out anew among the tokens: what chance gives

Only tokens of one rank are held against each other: later ones have more before them to share a cluster with and are
right less often, which alone would make a gap. Right tokens of a row are given as `valid` (n,V); otherwise they are the
ids that it holds.

Source   arXiv 2410.02284    Slug  in-context-navigation
Family   probes
Differs  nothing known
"""

from typing import Annotated, Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from blockyard.core import UsageError
from blockyard.core.settings import Count, Natural
from blockyard.probe._read import Arrays, rows_of


@torch.no_grad()
def key_clusters_probe(
    model: Any, data: Any, valid: Annotated[Any, "(n,V) which tokens are right behind each row; none: those it holds"]
    = None, *, clusters: Annotated[Count, "clusters of keys"] = 8, ranks: Annotated[Count, "tokens of a row"] = 10,
    seed: Annotated[Natural, "of the clusters, and of how they are dealt out anew"] = 0,
    batch: Annotated[Count, "rows at once"] = 64,
) -> Arrays:  # fmt: skip
    """Figures of what stands behind rows (n,L) of ids."""
    rows = rows_of(model, data, 1)
    keys = _keys(model)
    right = np.zeros((len(rows), len(keys)), bool)
    if valid is None:
        np.put_along_axis(right, rows.cpu().numpy(), True, 1)
    else:
        right = np.asarray(valid, bool)
        if right.shape != (len(rows), len(keys)):
            raise UsageError(f"valid is (rows, tokens) = {(len(rows), len(keys))}, not {right.shape}")
    logits = np.concatenate([model(piece).logits[:, -1].double().cpu().numpy() for piece in rows.split(batch)])
    order = np.argsort(-logits, 1, kind="stable")[:, : min(ranks, len(keys))]
    draw = np.random.default_rng(seed)
    of = kmeans2(keys, min(clusters, len(keys)), minit="++", seed=draw)[1]  # pyright: ignore[reportCallIssue]
    hits = np.take_along_axis(right, order, 1)
    found = split(of[order], hits)
    dealt = np.random.default_rng([seed, 1]).permutation(of)
    product = (keys[order] * keys[order[:, :1]]).sum(-1)[:, 1:]  # with the key of the likeliest
    said = np.take_along_axis(logits, order, 1)[:, 1:]
    found["correlation"] = np.array(np.mean([_correlation(a, b) for a, b in zip(product, said)]))
    return found | {"permuted": split(dealt[order], hits)["gap"]}


def split(of: np.ndarray, hits: np.ndarray) -> Arrays:
    """The figures of clusters (n,R) of the tokens of every row, the likeliest first, and which are right (n,R)."""
    near = np.stack([(of[:, :r] == of[:, r : r + 1]).any(1) for r in range(1, of.shape[1])], 1)
    later, kinds = hits[:, 1:], (near, ~near)
    means = [np.array([_mean(later[kind[:, r], r]) for r in range(later.shape[1])]) for kind in kinds]
    counts = [kind.sum(0) for kind in kinds]
    both = (counts[0] > 0) & (counts[1] > 0)
    if not both.any():
        return {"same": means[0], "other": means[1], "gap": np.array(np.nan), "error": np.array(np.nan)}
    (same, other), (n, m) = ([each[both] for each in pair] for pair in (means, counts))
    weight = n * m / (n + m)
    weight = weight / weight.sum()
    error = np.sqrt((weight**2 * (same * (1 - same) / n + other * (1 - other) / m)).sum())
    gap = (weight * (other - same)).sum()
    return {"same": means[0], "other": means[1], "gap": np.array(gap), "error": np.array(error)}


def _keys(model: Any) -> np.ndarray:
    """(V,D) what the head scores tokens by."""
    head = model.head
    if "normed" not in head.points:
        raise UsageError(f"head:{head.spec.name} has no key for every token that a state is held against")
    ids = torch.arange(model.axes["stem.vocab"].size, device=head.table.device)
    return head.store.embedding(ids, head.table).double().cpu().numpy()


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() and b.std() else 0.0
