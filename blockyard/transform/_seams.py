"""Where a factor for each channel can move from what reads numbers into what writes them, and nothing changes.

    W (x) = (W diag(s)) (x / s)        s > 0, a number a channel; x / s is written in place of x

What writes x is a norm with a gain, or rows of a projection; what reads it are columns of matrices. Both are found by
what tensors are recorded to be. Whether nothing changes, which depends on all that stands between them, is tried on a
copy of the model in double precision, with drawn factors: what cannot be shown to be exact is no seam.

Shapes   s (C) channels that are written, each of which one or more that are read stand for (heads that share values)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blockyard.core.axis import Axis, Cat, Expr, Prod
from blockyard.core.site import Use
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._sweep import copied

EXACT, FELT = 1e-8, 1e-5  # what may differ of what the model says, and what must where one side alone is changed
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Seam:
    """One place for factors.

    path      of the norm or of the projection that writes         size     channels that are written
    readers   paths of what reads                                  columns  tensors that read, and which dimension does
    spread    (channels read) the written channel of each          rows     of a projection: tensors, from row `start`
    """

    path: str
    readers: tuple[str, ...]
    size: int
    columns: tuple[tuple[str, int], ...]
    spread: Tensor
    rows: tuple[str, ...] = ()
    start: int = 0

    def moved(self, model: Model, tensors: Tensors, factor: Tensor) -> dict[str, Tensor]:
        """The tensors that change: columns times `factor` (C), what is written over it, in the widest precision."""
        factor = factor.to(next(iter(tensors.values())).device)
        return self._read(tensors, factor) | self._written(model, tensors, factor)

    def _read(self, tensors: Tensors, factor: Tensor) -> dict[str, Tensor]:
        by = factor[self.spread.to(factor.device)]
        found = {}
        for name, dim in self.columns:
            shape = [-1 if each == dim else 1 for each in range(tensors[name].dim())]
            found[name] = (tensors[name] * by.view(shape)).to(tensors[name].dtype)
        return found

    def _written(self, model: Model, tensors: Tensors, factor: Tensor) -> dict[str, Tensor]:
        if not self.rows:
            norm: Any = model.get_submodule(self.path)
            made = norm.times((1 / factor).to(next(norm.parameters()).device))
            return {f"{self.path}.{name}": tensor.to(tensors[f"{self.path}.{name}"]) for name, tensor in made.items()}
        found = {}
        for name in self.rows:
            tensor = tensors[name].clone()
            some = tensor[self.start : self.start + self.size]
            tensor[self.start : self.start + self.size] = (some / factor.view(-1, *[1] * (some.dim() - 1))).to(some)
            found[name] = tensor
        return found


def rescaled(model: Model, factors: Mapping[str, Tensor], among: list[Seam]) -> Model:
    """The model with these factors, by the paths of seams `among` which they move: what it says is what it said."""
    made = copied(model)
    for seam in among:
        if seam.path in factors and not made_of_shapes(model):
            with torch.no_grad():
                held = stored(made)
                for name, tensor in seam.moved(made, held, factors[seam.path]).items():
                    held[name].copy_(tensor)
    return made


def made_of_shapes(model: Model) -> bool:
    """Whether a model has no numbers."""
    return next(model.parameters()).is_meta


@torch.no_grad()
def seams(model: Model) -> list[Seam]:
    """All seams inside steps, in the order of the steps; on the meta device what may be one."""
    groups = [list(_candidates(model, *group)) for group in _groups(model)]
    if made_of_shapes(model):
        return _apart([group[0] for group in groups if group])
    trial = _Trial(model)
    found = []
    for group in groups:
        proven = next((seam for seam in group if trial.proves(seam)), None)
        if proven is not None:
            found.append(proven)
    return _apart(found)


def _apart(found: list[Seam]) -> list[Seam]:
    """The first of those that one path writes."""
    return list({seam.path: seam for seam in reversed(found)}.values())[::-1]


class _Trial:
    """The model in double precision, and what it says of an example."""

    def __init__(self, model: Model) -> None:
        with torch.device("meta"):
            outline = build(model.spec)
        wide = {name: t.detach().cpu().double() if t.is_floating_point() else t.detach().cpu().clone()
                for name, t in stored(model).items()}  # fmt: skip
        self.model, self.draw = fill(outline, wide).eval(), torch.Generator().manual_seed(0)
        self.batch = model.example(2, 16, torch.Generator().manual_seed(0))
        self.before = self._says()

    def proves(self, seam: Seam) -> bool:
        """Whether factors change nothing, and would if they were not moved but put in."""
        factor = 0.5 + 1.5 * torch.rand(seam.size, generator=self.draw, dtype=torch.float64)
        held = stored(self.model)
        read, written = seam._read(held, factor), seam._written(self.model, held, factor)
        return bool(written) and self._gap(read) > FELT and self._gap(read | written) < EXACT

    def _gap(self, tensors: Tensors) -> float:
        """How much of what is said changes with these tensors, which are put back."""
        held = stored(self.model)
        before = {name: held[name].clone() for name in tensors}
        for name, tensor in tensors.items():
            held[name].copy_(tensor)
        gap = float((self._says() - self.before).abs().max() / self.before.abs().max().clamp(min=1e-300))
        for name, tensor in before.items():
            held[name].copy_(tensor)
        return gap

    def _says(self) -> Tensor:
        out = self.model(self.batch)
        said = [each.flatten() for each in (*out.prediction.values(), out.hidden) if each.is_floating_point()]
        return torch.cat([each.double() for each in said])


def _groups(model: Model) -> Iterator[tuple[str, Expr, list[Use]]]:
    """Of every step what reads the same axes: the path of the step, the axes, the uses."""
    borrowed = {use.of for use in model.uses if use.of}
    for step in range(len(model.steps)):
        inside, found = f"steps.{step}.", dict[tuple[int, ...], list[Use]]()
        for use in model.uses:
            if use.path.startswith(inside) and use.reads is not None and _plain(use.reads):
                found.setdefault(tuple(map(id, use.reads.leaves())), []).append(use)
        for uses in found.values():
            if not any(use.of or use.path in borrowed or use.reads not in use.axes for use in uses):
                assert uses[0].reads is not None
                yield inside, uses[0].reads, uses


def _candidates(model: Model, inside: str, reads: Expr, uses: list[Use]) -> Iterator[Seam]:
    """What may be the seam of some readers: norms of the step, the nearest first, then rows of its projections."""
    columns = tuple((use.path, use.axes.index(use.reads)) for use in uses if use.reads is not None)
    readers = tuple(dict.fromkeys(use.path.rpartition(".")[0] for use in uses))
    own = [use for use in model.uses if use.path.startswith(inside) and not use.of]
    norms = {part.path for part in model.parts() if part.spec.kind == "norm"}
    for use in reversed(own):
        path = use.path.rpartition(".")[0]
        if path in norms and len(use.axes) == 1 and (spread := _spread(use.axes[0], reads)) is not None:
            yield Seam(path, readers, use.axes[0].size, columns, spread)
    for use in own:
        if use.writes is None or use.path in dict(columns) or use.writes not in use.axes[:1]:
            continue
        path = use.path.rpartition(".")[0]
        rows = tuple(each.path for each in own if each.axes and each.axes[0] is use.writes
                     and each.path.rpartition(".")[0] == path and not each.kept)  # fmt: skip
        for start, piece in _pieces(use.writes):
            if (spread := _spread(piece, reads)) is not None:
                yield Seam(path, readers, piece.size, columns, spread, rows, start)


def _plain(axes: Expr) -> bool:
    return isinstance(axes, Axis) or (isinstance(axes, Prod) and all(map(_plain, axes.parts)))


def _pieces(axes: Expr, start: int = 0) -> Iterator[tuple[int, Expr]]:
    """What lies side by side, with where it begins."""
    if not isinstance(axes, Cat):
        yield start, axes
        return
    for part in axes.parts:
        yield from _pieces(part, start)
        start += part.size


def _spread(written: Expr, read: Expr) -> Tensor | None:
    """Which channel that is written each one stands for that is read; None where these are other axes."""
    ours, theirs = list(written.leaves()), list(read.leaves())
    if not _plain(written) or not ours or [axis for axis in theirs if axis in ours] != ours:
        return None
    shape = [axis.size if axis in ours else 1 for axis in theirs]
    channels = torch.arange(written.size).view(shape).expand([axis.size for axis in theirs])
    return channels.reshape(-1)
