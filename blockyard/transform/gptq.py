"""Weights in few bits, rounded column by column: each rounding is made up for by the columns that are not yet rounded.

    H = (2/n) X^T X + damp mean(diag H) I        H^-1 = U^T U
    for j = 0, 1, ...    q_j = round(w_j)        e_j = (w_j - q_j) / U_jj        W[:, j:] -= e_j U[j, j:]

X is what a projection reads on data, through projections that are already rounded. The grid of a group is fitted when
its first column is reached; with `act_order` columns go by falling diag H, and grids are fitted before. Inputs that
are always 0 get weights of 0. 4 and 8 symmetric bits are kept packed where a store has such groups; other grids are
kept as full numbers that lie on them, and the report says the bytes of their codes.

Source   arXiv 2210.17323    Slug  gptq
Family   quantisers
Differs  scales in half precision; within a step projections go in the order of the forward; tables are left as they are
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, NonNegative, Patterns
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._grid import Coded, Grid, rebuilt, told
from blockyard.transform._sweep import copied, left_of, second_moment, sweep, wanted


class Gptq(Transform):
    shown = True
    settles = True

    def __init__(
        self, *, bits: Annotated[Literal[2, 3, 4, 8], "bits a number"] = 4,
        group: Annotated[Count, "numbers of a row that share a grid; none: all of it"] | None = 32,
        symmetric: Annotated[bool, "whether 0 is the middle of the grid; if not, it has a zero point"] = True,
        act_order: Annotated[bool, "whether the columns with the largest inputs are rounded first"] = False,
        damp: Annotated[NonNegative, "added to the diagonal of H, as a share of its mean"] = 0.01,
        block: Annotated[Count, "columns after which all others are updated at once; changes no code"] = 128,
        keep: Annotated[Patterns, "patterns of paths of projections that stay as they are"] = (),
    ) -> None:  # fmt: skip
        self.grid, self.act_order, self.damp, self.block = Grid(bits, group, symmetric), act_order, damp, block
        self.keep = keep

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in wanted(model, self.keep)], str(self.grid))

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned, work, coded = self.plan(model), copied(model), {}
        errors: dict[str, float] = {}
        for part, rows in sweep(work, batches(data, "transform:gptq")):
            if part.path not in planned:
                continue
            before, moment = part.weight.double(), second_moment(rows)
            found = coded[part.path] = solve(before, moment, self.grid, self.act_order, self.damp, self.block).coded
            part.weight.copy_(found.weight)
            errors[part.path] = _lost(before - found.weight, before, moment)
        covered = {path: planned[path] for path in coded}
        return Applied(rebuilt(work, coded), covered, left_of(model, covered), {**told(coded), "output_error": errors})


class Solved(NamedTuple):
    """What came of a matrix: its codes, and in the order of rounding the errors (O,I) and the factor U (I,I)."""

    coded: Coded
    errors: Tensor
    factor: Tensor


def solve(
    weight: Tensor, moment: Tensor, grid: Grid, act_order: bool = False, damp: float = 0.01, block: int = 128
) -> Solved:
    """W (O,I) on a grid so that W X changes least for inputs of second moment H (I,I); in double precision."""
    columns, width = weight.shape[1], grid.width(weight.shape[1])
    inputs = moment.diagonal()
    weight = torch.where(inputs == 0, 0.0, weight)
    moment = moment + torch.diag(torch.where(inputs == 0, 1.0, 0.0))
    order = moment.diagonal().argsort(descending=True, stable=True) if act_order else torch.arange(columns)
    fixed = grid.nearest(weight) if act_order else None
    work, moment = weight[:, order].clone(), moment[order][:, order]
    factor = _factor(moment + damp * moment.diagonal().mean() * torch.eye(columns).to(moment))
    if weight.is_meta:
        return Solved(grid.nearest(weight), work, factor)
    codes, errors, grids = torch.zeros_like(work), torch.zeros_like(work), []
    scale = zero = work[:, :0]
    start = 0
    while start < columns:
        end = _end(start, block, width, columns)
        for j in range(start, end):
            if fixed is not None:
                of = slice(int(order[j]) // width, int(order[j]) // width + 1)
                scale, zero = fixed.scales[:, of], fixed.zeros[:, of]
            elif j % width == 0:
                scale, zero = grid.fit(work[:, j : j + width])
                grids.append((scale, zero))
            column = work[:, j : j + 1]
            codes[:, j : j + 1] = grid.round(column, scale, zero)
            errors[:, j : j + 1] = (column - scale * (codes[:, j : j + 1] - zero)) / factor[j, j]
            work[:, j:end] -= errors[:, j : j + 1] * factor[j, j:end]
        work[:, end:] -= errors[:, start:end] @ factor[start:end, end:]
        start = end
    if fixed is not None:
        return Solved(Coded(codes[:, order.argsort()], fixed.scales, fixed.zeros, grid), errors, factor)
    scales, zeros = (torch.cat(each, 1) for each in zip(*grids))
    return Solved(Coded(codes, scales, zeros, grid), errors, factor)


def _end(start: int, block: int, width: int, columns: int) -> int:
    """Where a block ends: no group may begin in one and end beyond it, or it were fitted to columns not yet updated."""
    end = min(start + block, columns)
    last = end // width * width
    return last if start < last < end else end


def _factor(moment: Tensor) -> Tensor:
    """U, upper triangular, with H^-1 = U^T U."""
    lower, info = torch.linalg.cholesky_ex(moment)
    if not moment.is_meta and int(info):
        raise UsageError("the inputs of a projection are too alike to be told apart: raise damp, or show other data")
    return torch.linalg.cholesky(torch.cholesky_inverse(lower)).mT


def _lost(change: Tensor, weight: Tensor, moment: Tensor) -> float:
    """trace(D H D^T) / trace(W H W^T): the share of the outputs' power that a change D of the weights takes."""
    if weight.is_meta:
        return 0.0
    lost, whole = (float(((each @ moment) * each).sum()) for each in (change, weight))
    return lost / whole if whole else 0.0
