"""From our parameter paths to the names in somebody else's checkpoint, as data.

A source is the text of one or several names:

    "attn.out.weight"            the tensor as it is
    "attn.c_proj.weight.T"       transposed
    "q.weight | k.weight"        the rows of the first, then those of the second (our fused projections)
    "heads of qkv.weight"        its rows head by head: a head's queries, its key, its value, then the next head's
    "conv.weight.patches"        a filter (D,C,P,P) as the matrix (D, P P C) of a patch
    "bias_table.square"          a table ((2n-1)^2, H) as (2n-1, 2n-1, H)
    "k_proj.weight.zeros"        zeros, one a row: what theirs does not add

Dimensions of 1 come and go: a depthwise filter (C,1,W) is ours of (C,W). Where a position turns other channels of a
head than theirs does, the channels of that head are put into our order wherever they stand.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from blockyard.core.axis import Axis, Cat, Expr
from blockyard.core.errors import UsageError
from blockyard.core.part import Position
from blockyard.model.model import Model

HEADS = "heads of "
KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Names:
    """The names of one model type.

    base     what all names of the body start with; a checkpoint of the body alone leaves it out
    layer    what the names of a layer start with, after the base, {} its number; where it differs by block, of each:
             {} counts the blocks of a name, and of "stage3" {at} is 2 and {next} is 3
    ends     paths outside the steps -> source, in full
    blocks   for each block of the recipe, for each of its steps: path inside the step -> source inside the layer; a
             number at the end of the block's name is left out
    renamed  other spellings of pieces of names
    ignored  patterns of buffers that hold nothing learned
    copies   names that a checkpoint may hold beside, or in the place of, the one that they are a copy of
    unread   patterns of what another head reads, which is left out with a warning
    towers   the names of each tower
    pixels   the filter that reads the image, without `.weight` and `.bias`
    """

    base: str
    layer: str | Mapping[str, str]
    ends: Mapping[str, str]
    blocks: Mapping[str, tuple[Mapping[str, str], ...]]
    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    towers: Mapping[str, "Names"] = field(default_factory=dict)
    pixels: str = ""

    def sources(self, model: Model) -> dict[str, str]:
        """Our path -> source, for every parameter of a model."""
        table = self._table(model)
        return {path: table[path] for path, _ in model.named_parameters()}

    def _table(self, model: Model) -> dict[str, str]:
        """The same of every parameter that such a model may have."""
        table, met = dict(self.ends), Counter[str]()
        for number, ((name, _), steps) in enumerate(zip(model.depth.plan(), model.depth.blocks)):
            kind = name.rstrip("0123456789")
            prefix = self.base + self._prefix(kind, name[len(kind) :], number, met[name])
            met[name] += 1
            for step, names in zip(steps, self.blocks.get(name) or self.blocks[kind]):
                for path, source in names.items():
                    how = HEADS if source.startswith(HEADS) else ""
                    table[f"steps.{step}.{path}"] = how + " | ".join(prefix + one for one in _names(source))
        for name, names in self.towers.items():
            tower = model.towers[name]
            assert isinstance(tower, Model)
            table |= {f"towers.{name}.{path}": source for path, source in names._table(tower).items()}
        return table

    def _prefix(self, kind: str, stage: str, number: int, before: int) -> str:
        if isinstance(self.layer, str):
            return self.layer.format(number)
        return self.layer[kind].format(before, at=int(stage or 1) - 1, next=int(stage or 1))

    def layers(self, names: Iterable[str]) -> int:
        """How many layers a checkpoint of these names has; of towers and stages the most that one has."""
        names = list(names)
        laid = [self.layer] if isinstance(self.layer, str) else list(self.layer.values())
        counts = [tower.layers(names) for tower in self.towers.values()]
        for layer in laid:
            pattern = re.sub(r"\\{\w+\\}", r"\\d+", re.escape(layer).replace(r"\{\}", r"(\d+)"))
            number = re.compile(r"(?:^|\.)" + pattern)
            counts += [int(found[1]) + 1 for name in names if (found := number.search(name)) and found.re.groups]
        return max(counts, default=0)

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
        """Our parameters from their canonical tensors; every one is filled and every tensor is used."""
        sources = self.sources(model)
        found = self._untie(dict(tensors), sources, where)
        wanted = {_bare(name) for source in sources.values() for name in _names(source)}
        found = self._without_others(found, wanted, where)
        if missing := sorted(wanted - found.keys()):
            raise UsageError(f"{where}: {_some(missing)} missing from the checkpoint")
        if extra := sorted(found.keys() - wanted):
            raise UsageError(f"{where}: the checkpoint has {_some(extra)}, which config.json does not explain")
        shapes = {path: p.shape for path, p in model.named_parameters()}
        made = {path: _shaped(_assemble(source, found, where), shapes[path]) for path, source in sources.items()}
        uses = {use.path: use.axes for use in model.uses}
        for path, source in sources.items():
            if source.startswith(HEADS):
                made[path] = _by_piece(made[path], uses[path][0], path, where)
        for position in (part for part in model.parts() if isinstance(part, Position)):
            if position.elsewhere is not None:
                made = {path: _renumbered(tensor, uses[path], *position.elsewhere) for path, tensor in made.items()}
        return made

    def _untie(self, found: dict[str, Tensor], sources: Mapping[str, str], where: str) -> dict[str, Tensor]:
        """Without the copies that a checkpoint may hold, such as that of the table for a tied head."""
        copies, head = dict(self.copies), self.ends.get("head.table")
        if head is not None and "head.table" not in sources:
            copies[head] = self.ends["stem.table"]
        for name, original in copies.items():
            if name not in found:
                continue
            if original in found and not torch.equal(found[name], found[original]):
                said = "tie_word_embeddings is true, but " if name == head else ""
                raise UsageError(f"{where}: {said}{name} is not {original}")
            found = {original if key == name else key: tensor for key, tensor in found.items()}
        return found

    def _without_others(self, found: dict[str, Tensor], wanted: set[str], where: str) -> dict[str, Tensor]:
        """Without what other heads read."""
        others = {name for name in found.keys() - wanted if any(fnmatchcase(name, each) for each in self.unread)}
        if others:
            warnings.warn(f"{where}: {_some(sorted(others))} left out: no part of this model reads it", stacklevel=4)
        return {name: tensor for name, tensor in found.items() if name not in others}


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.T.contiguous()


def _patches(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1).flatten(1) if tensor.dim() == 4 else tensor


def _square(tensor: Tensor) -> Tensor:
    side = math.isqrt(tensor.shape[0]) if tensor.dim() else 0
    return tensor.unflatten(0, (side, side)) if side and side * side == tensor.shape[0] else tensor


def _zeros(tensor: Tensor) -> Tensor:
    return tensor.new_zeros(tensor.shape[:1])


FORMS = {"T": _transposed, "patches": _patches, "square": _square, "zeros": _zeros}


def _bare(name: str) -> str:
    """The name of a tensor, without the form that is asked of it."""
    before, _, form = name.rpartition(".")
    return before if form in FORMS else name


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
        tensor = tensors[_bare(name)]
        if tensor.dtype not in KINDS:
            raise UsageError(f"{where}: {name} holds {tensor.dtype}; quantised checkpoints are not known")
        if tensor.dim() == 3 and tensor.shape[1] == 1:
            tensor = tensor[:, 0]
        form = FORMS.get(name.rpartition(".")[2])
        pieces.append(tensor if form is None else form(tensor))
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise UsageError(f"{where}: {source} do not fit together: {', '.join(str(tuple(p.shape)) for p in pieces)}")
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _shaped(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The tensor in this shape where nothing but dimensions of 1 is between them."""
    alike = [n for n in tensor.shape if n != 1] == [n for n in shape if n != 1]
    return tensor.reshape(shape) if alike else tensor


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
