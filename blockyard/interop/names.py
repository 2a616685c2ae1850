"""From our parameter paths to the names in somebody else's checkpoint, as data.

A source is the text of one or several names:

    "attn.out.weight"            the tensor as it is
    "attn.c_proj.weight.T"       transposed
    "q.weight | k.weight"        the rows of the first, then those of the second (our fused projections)
    "heads of qkv.weight"        its rows head by head: a head's queries, its key, its value, then the next head's

A depthwise filter (C,1,W) loses its middle dimension. Where a position turns other channels of a head than theirs does,
the channels of that head are put into our order wherever they stand.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from blockyard.core.axis import Axis, Cat, Expr
from blockyard.core.errors import UsageError
from blockyard.core.part import Part, Position
from blockyard.model.model import Model

HEADS = "heads of "
DEPTHWISE = "short_conv"  # the part whose filter has another dimension there
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
        table = dict(self.ends)
        for number, ((name, _), steps) in enumerate(zip(model.depth.plan(), model.depth.blocks)):
            prefix = self.base + self.layer.format(number)
            for step, names in zip(steps, self.blocks[name]):
                for path, source in names.items():
                    found = [one.removeprefix(HEADS) for one in source.split(" | ")]
                    how = HEADS if source.startswith(HEADS) else ""
                    table[f"steps.{step}.{path}"] = how + " | ".join(prefix + one for one in found)
        return {path: table[path] for path, _ in model.named_parameters()}

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
        wanted = {name.removesuffix(".T") for source in sources.values() for name in _names(source)}
        if missing := sorted(wanted - found.keys()):
            raise UsageError(f"{where}: {_some(missing)} missing from the checkpoint")
        if extra := sorted(found.keys() - wanted):
            raise UsageError(f"{where}: the checkpoint has {_some(extra)}, which config.json does not explain")
        made = {path: _assemble(source, found, where) for path, source in sources.items()}
        uses = {use.path: use.axes for use in model.uses}
        for path, source in sources.items():
            if source.startswith(HEADS):
                made[path] = _by_piece(made[path], uses[path][0], path, where)
        for position in (part for part in model.parts() if isinstance(part, Position)):
            if position.elsewhere is not None:
                made = {path: _renumbered(tensor, uses[path], *position.elsewhere) for path, tensor in made.items()}
        return made

    def invert(self, model: Model, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors from our parameters, by path: what `convert` reads as these again."""
        made = dict(ours)
        uses = {use.path: use.axes for use in model.uses}
        for position in reversed([part for part in model.parts() if isinstance(part, Position)]):
            if position.elsewhere is not None:
                axis, order = position.elsewhere
                back = axis, order.argsort()
                made = {path: _renumbered(tensor, uses[path], *back) for path, tensor in made.items()}
        theirs: dict[str, Tensor] = {}
        for path, source in self.sources(model).items():
            tensor, rows = made[path], uses[path][0]
            if source.startswith(HEADS):
                tensor = _by_head(tensor, rows)
            if _owner(model, path) == DEPTHWISE and tensor.dim() == 2:
                tensor = tensor[:, None]
            theirs |= _taken_apart(source, tensor, rows)
        return theirs

    def _untie(self, found: dict[str, Tensor], sources: Mapping[str, str], where: str) -> dict[str, Tensor]:
        """Without the copy of the table that a tied checkpoint may hold for its head."""
        table, head = self.ends["stem.table"], self.ends["head.table"]
        if "head.table" in sources or head not in found or table not in found:
            return found
        if not torch.equal(found[head], found[table]):
            raise UsageError(f"{where}: tie_word_embeddings is true, but {head} is not {table}")
        return {name: tensor for name, tensor in found.items() if name != head}


def _names(source: str) -> list[str]:
    return source.removeprefix(HEADS).split(" | ")


def _by_piece(tensor: Tensor, rows: Expr, path: str, where: str) -> Tensor:
    """Rows that come head by head, a piece of each of our parts, in the order of our parts."""
    assert isinstance(rows, Cat)
    heads = next(rows.leaves()).size
    if len(tensor) != rows.size:
        raise UsageError(f"{where}: {path} takes {rows.size} rows, and the checkpoint has {len(tensor)}")
    pieces = tensor.unflatten(0, (heads, -1)).split([size // heads for size in rows.sizes], 1)
    return torch.cat([piece.flatten(0, 1) for piece in pieces])


def _by_head(tensor: Tensor, rows: Expr) -> Tensor:
    """The inverse of `_by_piece`."""
    assert isinstance(rows, Cat)
    heads = next(rows.leaves()).size
    return torch.cat([piece.unflatten(0, (heads, -1)) for piece in tensor.split(rows.sizes)], 1).flatten(0, 1)


def _owner(model: Model, path: str) -> str:
    """The name of the part that has a parameter."""
    part = model.get_submodule(path.rpartition(".")[0])
    return part.spec.name if isinstance(part, Part) else ""


def _taken_apart(source: str, tensor: Tensor, rows: Expr) -> dict[str, Tensor]:
    """A tensor under the names of its source: as many runs of its rows as there are names."""
    names = _names(source)
    sizes = _runs(rows) if len(names) > 1 else [len(tensor)]
    if len(sizes) != len(names) or sum(sizes) != len(tensor):
        raise UsageError(f"{source} has {len(names)} names for {len(sizes)} runs of rows")
    made = {}
    for name, piece in zip(names, tensor.split(sizes)):
        made[name.removesuffix(".T")] = piece.T if name.endswith(".T") else piece
    return made


def _runs(rows: Expr) -> list[int]:
    """The sizes of what lies side by side, down to what does not."""
    return [size for part in rows.parts for size in _runs(part)] if isinstance(rows, Cat) else [rows.size]


def _renumbered(tensor: Tensor, axes: tuple[Expr, ...], axis: Axis, order: Tensor) -> Tensor:
    """The channels of an axis in our order, in every dimension where they stand."""
    for dim, expr in enumerate(axes):
        if any(leaf is axis for leaf in expr.leaves()) and tensor.dim() == len(axes):
            index = expr.find(axis, order)
            tensor = tensor.index_select(dim, index) if tensor.shape[dim] == len(index) else tensor
    return tensor


def _assemble(source: str, tensors: Mapping[str, Tensor], where: str) -> Tensor:
    pieces = []
    for name in _names(source):
        tensor = tensors[name.removesuffix(".T")]
        if tensor.dtype not in KINDS:
            raise UsageError(f"{where}: {name} holds {tensor.dtype}; quantised checkpoints are not known")
        if tensor.dim() == 3 and tensor.shape[1] == 1:
            tensor = tensor[:, 0]
        pieces.append(tensor.T.contiguous() if name.endswith(".T") else tensor)
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise UsageError(f"{where}: {source} do not fit together: {', '.join(str(tuple(p.shape)) for p in pieces)}")
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
