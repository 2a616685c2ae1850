"""Which single weights of attention carry the difference between two rows?

    m = s[right] - s[wrong]                           s: what the model says behind the last token
    change = A_ts(row) - A_ts(other)                  of every head, query t and key s
    restored = (m_entry - m_other) / (m_row - m_other)

m_entry is of the other row with one weight as it is in the first one, and all else as it comes. With one edge of a
graph changed, the weights that restore the answer are those by which the edge is found. The `top` weights of each step
that change most are tried; right and wrong are what is said of the row and of the other, or of the other secondly.

Source   arXiv 2412.04703    Slug  search-struggle
Family   probes
Differs  every weight is put back alone (paper: chains of them are followed from the answer back to the input)
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, rows_of
from blockyard.probe.attention_entropy import weight_points


@torch.no_grad()
def weight_tracing_probe(
    model: Any, data: Any, other: Annotated[Any, "rows (n,L) to hold them against; none: each row's neighbour"] = None,
    *, top: Annotated[Count, "weights of a step that are tried"] = 8,
) -> Arrays:  # fmt: skip
    """Of rows (n,L) of ids, for each step that attends: `steps.0.part:entry` (n,K,3) head, query and key,
    `steps.0.part:change` and `steps.0.part:restored` (n,K), the largest change first; of both, `gap` (n,2) is m.
    """
    rows = rows_of(model, data, 1)
    against = rows.roll(1, 0) if other is None else rows_of(model, other, 1)
    if against.shape != rows.shape:
        raise UsageError(
            f"rows are held against rows of the same length: not {tuple(against.shape)}, {tuple(rows.shape)}"
        )
    points = weight_points(model)
    if not points:
        return {}
    one, two = (model(each, points=points) for each in (rows, against))
    said, base = one.logits[:, -1].double(), two.logits[:, -1].double()
    right = said.argmax(-1)
    wrong = base.scatter(1, right[:, None], float("-inf")).argmax(-1)
    gap = torch.stack([_gap(said, right, wrong), _gap(base, right, wrong)], 1)
    found = {"gap": gap}
    for key, weights in one.captures.items():
        _, loop, path, name = key
        shift = weights - two.captures[key]
        order = shift.abs().flatten(1).topk(min(top, shift[0].numel()), 1).indices
        entry = torch.stack(torch.unravel_index(order, shift.shape[1:]), 2)
        where = f"{path}@{loop}" if loop else path
        found[f"{where}:entry"], found[f"{where}:change"] = entry, shift.flatten(1).gather(1, order).double()
        pieces = [
            _restored(model, against[i : i + 1], (f"{path}:{name}", loop), entry[i], weights[i], right[i], wrong[i])
            for i in range(len(rows))
        ]
        whole = gap[:, :1] - gap[:, 1:]
        found[f"{where}:restored"] = (torch.stack(pieces) - gap[:, 1:]) / torch.where(whole == 0, torch.nan, whole)
    return {name: value.cpu().numpy() for name, value in found.items()}


def _restored(
    model: Any, row: Tensor, place: tuple[str, int], entries: Tensor, weights: Tensor, right: Tensor, wrong: Tensor
) -> Tensor:
    """(K,) m of a row (1,L), each time with another entry (K,3) as in weights (H,L,L), in one of a step's loops."""
    point, wanted = place
    copies, met = torch.arange(len(entries), device=row.device), -1

    def put(value: Tensor) -> Tensor:
        nonlocal met
        met += 1
        if met != wanted:
            return value
        head, query, key = entries.T
        return value.index_put((copies, head, query, key), weights[head, query, key].to(value.dtype))

    said = model(row.expand(len(entries), -1), points={point: put}).logits[:, -1].double()
    many = len(entries)
    return _gap(said, right.expand(many), wrong.expand(many))


def _gap(said: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """(n,) by how much the right id is ahead of the wrong one in scores (n,V)."""
    return (said.gather(1, right[:, None]) - said.gather(1, wrong[:, None]))[:, 0]
