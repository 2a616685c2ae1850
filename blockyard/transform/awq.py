"""Channels that carry much are made to lose little by rounding: their weights become larger, exactly made up for.

    s_c = m_c^a / sqrt(max m^a min m^a)        m_c = mean |x_c| of what is read        a in {0, 1/n, ..., 1 - 1/n}
    a minimises  trace(D H D^T),  D = Q(W diag(s)) diag(1/s) - W,  H = (2/n) X^T X,  over all that reads the channels

Q is rounding to the nearest on the grid that is named here. The model that comes out says what the one before it said,
to rounding: nothing is in few bits yet. `rtn` or `gptq` behind it does that: `awq:bits=3|rtn:bits=3`. Factors move only
where that is exact; other places are left.

Source   arXiv 2306.00978
Family   quantisers
Differs  the error is that of the projections' outputs (code: of the attention or channel around them); no range is cut
         afterwards; channels that heads share get one factor
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Patterns
from blockyard.model.model import Model
from blockyard.model.save import stored
from blockyard.transform._base import Applied, Transform, batches, check_patterns, matches
from blockyard.transform._grid import Grid
from blockyard.transform._seams import Seam, rescaled, seams
from blockyard.transform._sweep import projections, sweep


class Read:
    """What a projection reads on data: mean |x| (I) and the second moment H (I,I), in double precision."""

    def __init__(self, size: int) -> None:
        self.count, self.sums, self.squares = 0, torch.zeros(size).double(), torch.zeros(size, size).double()

    def add(self, rows: Tensor) -> None:
        """Some more of what it read, (n,I)."""
        wide = rows.detach().double()
        self.sums, self.squares = self.sums.to(wide.device) + wide.abs().sum(0), self.squares.to(wide.device)
        self.squares, self.count = self.squares + wide.T @ wide, self.count + len(wide)

    @property
    def mean(self) -> Tensor:
        return self.sums / max(1, self.count)

    @property
    def moment(self) -> Tensor:
        return 2 * self.squares / max(1, self.count)


class Awq(Transform):
    shown = True

    def __init__(
        self, *, bits: Annotated[Literal[2, 3, 4, 8], "bits a number that rounding behind it has"] = 4,
        group: Annotated[Count, "numbers of a row that share a grid; none: all of it"] | None = 32,
        symmetric: Annotated[bool, "whether 0 is the middle of the grid; if not, it has a zero point"] = True,
        tries: Annotated[Count, "powers a that are tried, 0 the first"] = 20,
        keep: Annotated[Patterns, "patterns of paths of projections that are not rounded"] = (),
    ) -> None:  # fmt: skip
        self.grid, self.tries, self.keep = Grid(bits, group, symmetric), tries, keep

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([seam.path for seam in self._where(model)], f"rescaled for {self.grid}")

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        where = self._where(model)
        read = self._read(model, batches(data, "transform:awq"), where)
        work, powers, gains = model, dict[str, float](), dict[str, float]()
        for seam in where:
            if not next(model.parameters()).is_meta:
                factor, powers[seam.path], gains[seam.path] = self._searched(work, seam, read)
                work = rescaled(work, {seam.path: factor}, [seam])
        work = work if work is not model else rescaled(model, {}, [])
        covered = dict.fromkeys([seam.path for seam in where], f"rescaled for {self.grid}")
        readers = {path for seam in where for path in seam.readers}
        left = tuple(part.path for part in projections(model) if part.path not in readers)
        return Applied(work, covered, left, {"exponent": powers, "error": gains})

    def _where(self, model: Model) -> list[Seam]:
        """Seams that are read by a projection at least which is rounded."""
        known = [part.path for part in projections(model)]
        check_patterns(model, self.keep, known)
        rounded = {path for path in known if not matches(path, self.keep)}
        found = [seam for seam in seams(model) if rounded.intersection(seam.readers)]
        if not found:
            raise UsageError("awq: no projection reads channels that could be rescaled exactly")
        return found

    def _read(self, model: Model, data: Sequence[Batch], where: list[Seam]) -> dict[str, Read]:
        """What projections read, by path: the first of each seam's readers that can be seen."""
        wanted, found = {path for seam in where for path in seam.readers}, dict[str, Read]()
        for part, rows in sweep(model, data):
            if part.path in wanted:
                read = found[part.path] = Read(part.weight.shape[1])
                for piece in () if part.weight.is_meta else rows:
                    read.add(piece)
        return found

    def _searched(self, model: Model, seam: Seam, read: Mapping[str, Read]) -> tuple[Tensor, float, float]:
        """The factors (C) that lose least, their power, and what is lost as a share of what is without any."""
        held = stored(model)
        paths = [path for path in seam.readers if path in read and not matches(path, self.keep)]
        weights = [(held[f"{path}.weight"].double(), read[path].moment) for path in paths]
        first = read[paths[0]].mean
        of = seam.spread.to(first.device)
        channels = torch.zeros(seam.size, dtype=torch.float64, device=first.device).index_add(0, of, first)
        size = (channels / torch.bincount(of, minlength=seam.size)).clamp(min=1e-8)
        best: tuple[float, float, Tensor] | None = None
        plain = 0.0
        for attempt in range(self.tries):
            power = attempt / self.tries
            factor = powered(size, power)
            lost = sum(self._lost(weight, moment, factor[of]) for weight, moment in weights)
            plain = plain if attempt else lost
            if best is None or lost < best[0]:
                best = lost, power, factor
        assert best is not None
        return best[2], best[1], best[0] / plain if plain else 1.0

    def _lost(self, weight: Tensor, moment: Tensor, factor: Tensor) -> float:
        """trace(D H D^T) of a matrix (O,I) whose columns are rounded larger."""
        change = self.grid.nearest(weight * factor).weight / factor - weight
        return float(((change @ moment) * change).sum())


def powered(size: Tensor, power: float) -> Tensor:
    """(C) factors of sizes: their power, the largest and the smallest as far from 1."""
    found = size**power
    return found / (found.max() * found.min()).sqrt()
