"""From our parameter paths to the names in somebody else's checkpoint, as data.

A source is the text of one or several names:

    "attn.out.weight"            the tensor as it is
    "attn.c_proj.weight.T"       transposed
    "q.weight | k.weight"        the rows of the first, then those of the second (our fused projections)
    "heads of qkv.weight"        its rows head by head: a head's queries, its key, its value, then the next head's
    "heads 0 2 1 of a | b"       the same of several tensors; a head has our pieces in that order, in all of them
    "q.weight 0/2"               of every two runs of rows as wide as a head the first
    "gate.weight.T flat"         its matrices, each transposed, or its rows, one behind the other
    "experts.{}.up.weight"       for a path with * in the place of a number: the tensor of that number
    "experts.weight[{}]"         the same, where one tensor holds all of them along its first dimension

A depthwise filter (C,1,W) loses its middle dimension. Where a position turns other channels of a head than theirs does,
the channels of that head are put into our order wherever they stand.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.axis import Axis, Cat, Expr
from blockyard.core.errors import UsageError
from blockyard.core.part import Position
from blockyard.model.model import Model

_HEADS = re.compile(r"heads (?:([\d ]+) )?of ")
KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Names:
    """The names of one model type.

    base     what all names of the body start with; a checkpoint of the body alone leaves it out
    layer    what the names of a layer start with, after the base
    ends     paths outside the steps -> source, in full
    blocks   for each block of the recipe, for each of its steps: path inside the step -> source inside the layer
    renamed  other spellings of pieces of names
    ignored  patterns of buffers that hold nothing learned
    """

    base: str
    layer: str
    ends: Mapping[str, str]
    blocks: Mapping[str, tuple[Mapping[str, str], ...]]
    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def sources(self, model: Model) -> dict[str, str]:
        """Our path -> source, for every parameter of a model."""
        table, parameters = dict(self.ends), [path for path, _ in model.named_parameters()]
        for number, ((name, _), steps) in enumerate(zip(model.depth.plan(), model.depth.blocks)):
            prefix = self.base + self.layer.format(number)
            for step, names in zip(steps, self.blocks[name]):
                for path, source in names.items():
                    found = _HEADS.match(source)
                    how = found[0] if found else ""
                    whole = how + " | ".join(prefix + one for one in _names(source))
                    table |= _each(f"steps.{step}.{path}", whole, parameters)
        return {path: table[path] for path in parameters}

    def layers(self, names: Iterable[str]) -> int:
        """How many layers a checkpoint of these names has."""
        number = re.compile(r"(?:^|\.)" + re.escape(self.layer).replace(r"\{\}", r"(\d+)"))
        return max((int(found[1]) + 1 for name in names if (found := number.search(name))), default=0)

    def canonical(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that hold something learned, under the names that `sources` uses."""
        whole = any(name.startswith(self.base) for name in tensors)
        result = {}
        for old, tensor in tensors.items():
            name = old if whole or old in self.ends.values() else self.base + old
            for spelling, meant in self.renamed.items():
                name = name.replace(spelling, meant)
            if not any(fnmatchcase(name, pattern) for pattern in self.ignored):
                result[name] = tensor
        return result

    def convert(self, model: Model, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
        """Our parameters from their tensors; every one is filled and every tensor is used."""
        found, sources = self.canonical(tensors), self.sources(model)
        found = self._untie(found, sources, where)
        wanted = {_taken(name).name for source in sources.values() for name in _names(source)}
        if missing := sorted(wanted - found.keys()):
            raise UsageError(f"{where}: {_some(missing)} missing from the checkpoint")
        if extra := sorted(found.keys() - wanted):
            raise UsageError(f"{where}: the checkpoint has {_some(extra)}, which config.json does not explain")
        _all_taken(sources.values(), found, where)
        uses = {use.path: use.axes for use in model.uses}
        made = {path: _assemble(source, found, uses[path], where) for path, source in sources.items()}
        for position in (part for part in model.parts() if isinstance(part, Position)):
            if position.elsewhere is not None:
                made = {path: _renumbered(tensor, uses[path], *position.elsewhere) for path, tensor in made.items()}
        return made

    def _untie(self, found: dict[str, Tensor], sources: Mapping[str, str], where: str) -> dict[str, Tensor]:
        """Without the copy of the table that a tied checkpoint may hold for its head."""
        table, head = self.ends["stem.table"], self.ends["head.table"]
        if "head.table" in sources or head not in found or table not in found:
            return found
        if not torch.equal(found[head], found[table]):
            raise UsageError(f"{where}: tie_word_embeddings is true, but {head} is not {table}")
        return {name: tensor for name, tensor in found.items() if name != head}


def _names(source: str) -> list[str]:
    found = _HEADS.match(source)
    return source[found.end() if found else 0 :].split(" | ")


def _by_head(pieces: list[Tensor], rows: Expr, order: list[int], path: str, where: str) -> Tensor:
    """Rows that come head by head, a piece of each of our parts in that order, as our parts one after the other."""
    sizes, heads = _runs(rows), next(rows.leaves()).size
    if sum(map(len, pieces)) != rows.size or any(len(piece) % heads for piece in pieces):
        had = " and ".join(str(len(piece)) for piece in pieces)
        raise UsageError(f"{where}: {path} takes {rows.size} rows of {heads} heads, and the checkpoint has {had}")
    whole, order = torch.cat([piece.unflatten(0, (heads, -1)) for piece in pieces], 1), order or [*range(len(sizes))]
    runs = dict(zip(order, whole.split([sizes[part] // heads for part in order], 1)))
    return torch.cat([runs[part].flatten(0, 1) for part in range(len(sizes))])


def _runs(rows: Expr) -> list[int]:
    """The sizes of what lies side by side, also inside of what does."""
    return [size for part in rows.parts for size in _runs(part)] if isinstance(rows, Cat) else [rows.size]


def _renumbered(tensor: Tensor, axes: tuple[Expr, ...], axis: Axis, order: Tensor) -> Tensor:
    """The channels of an axis in our order, in every dimension where they stand."""
    for dim, expr in enumerate(axes):
        if any(leaf is axis for leaf in expr.leaves()) and tensor.dim() == len(axes):
            index = expr.find(axis, order)
            tensor = tensor.index_select(dim, index) if tensor.shape[dim] == len(index) else tensor
    return tensor


def _assemble(source: str, tensors: Mapping[str, Tensor], axes: tuple[Expr, ...], where: str) -> Tensor:
    pieces = [_piece(name, tensors, axes, where) for name in _names(source)]
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise UsageError(f"{where}: {source} do not fit together: {', '.join(str(tuple(p.shape)) for p in pieces)}")
    if found := _HEADS.match(source):
        return _by_head(pieces, axes[0], [*map(int, (found[1] or "").split())], source, where)
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _piece(name: str, tensors: Mapping[str, Tensor], axes: tuple[Expr, ...], where: str) -> Tensor:
    """What a source takes of one tensor."""
    taken = _taken(name)
    tensor = tensors[taken.name]
    if tensor.dtype not in KINDS:
        raise UsageError(f"{where}: {name} holds {tensor.dtype}; quantised checkpoints are not known")
    if taken.matrix is not None:
        tensor = tensor[taken.matrix]
    elif tensor.dim() == 3 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    if taken.of > 1:
        wide = [*axes[0].leaves()][-1].size
        if not tensor.dim() or len(tensor) % (wide * taken.of):
            raise UsageError(f"{where}: {taken.name} is {tuple(tensor.shape)}, not runs of {taken.of} x {wide} rows")
        tensor = tensor.unflatten(0, (-1, taken.of, wide))[:, taken.run].flatten(0, 1)
    if taken.turned:
        tensor = tensor.mT.contiguous() if tensor.dim() > 2 else tensor.T.contiguous()
    return tensor.flatten(0, 1) if taken.flat and tensor.dim() > 1 else tensor


def _each(path: str, source: str, parameters: Iterable[str]) -> dict[str, str]:
    """A path and its source; of a path with * each that there is, with its number in the source."""
    if "*" not in path:
        return {path: source}
    number = re.compile(re.escape(path).replace(r"\*", r"(\d+)"))
    found = [match for match in map(number.fullmatch, parameters) if match]
    return {match[0]: source.replace("{}", match[1]) for match in found}


class _Taken(NamedTuple):
    """Of a tensor: one of its matrices or all (None), one of `of` runs of rows, transposed, one behind the other."""

    name: str
    matrix: int | None
    run: int
    of: int
    turned: bool
    flat: bool


def _taken(text: str) -> _Taken:
    name, _, run = text.partition(" ")
    flat, (first, _, of) = run == "flat", run.removesuffix("flat").partition("/")
    held, _, matrix = name.removesuffix(".T").partition("[")
    number = int(matrix.removesuffix("]")) if matrix else None
    return _Taken(held, number, int(first or 0), int(of or 1), name.endswith(".T"), flat)


def _all_taken(sources: Iterable[str], tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse a tensor of several matrices that are not as many as what is made of them."""
    taken = [_taken(name) for source in sources for name in _names(source)]
    for held, many in Counter(each.name for each in taken if each.matrix is not None).items():
        if tensors[held].dim() != 3 or tensors[held].shape[0] != many:
            raise UsageError(f"{where}: {held} is {tuple(tensors[held].shape)}; config.json asks for {many} matrices")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
