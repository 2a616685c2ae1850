"""What one of our tensors is made of, in the names of somebody else's checkpoint.

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
    "conv.weight.patches"        a filter (D,C,P,P) as the matrix (D, P P C) of a patch
    "bias_table.square"          a table ((2n-1)^2, H) as (2n-1, 2n-1, H)
    "k_proj.weight.zeros"        zeros, one a row: what theirs does not add

Dimensions of 1 come and go: a depthwise filter (C,1,W) is ours of (C,W). Where a position turns other channels of a
head than theirs does, the channels of that head are put into our order wherever they stand.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.axis import Axis, Cat, Expr
from blockyard.core.errors import UsageError

_HEADS = re.compile(r"heads (?:([\d ]+) )?of ")
KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.mT.contiguous() if tensor.dim() > 2 else tensor.T.contiguous()


def _patches(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1).flatten(1) if tensor.dim() == 4 else tensor


def _square(tensor: Tensor) -> Tensor:
    side = math.isqrt(tensor.shape[0]) if tensor.dim() else 0
    return tensor.unflatten(0, (side, side)) if side and side * side == tensor.shape[0] else tensor


def _zeros(tensor: Tensor) -> Tensor:
    return tensor.new_zeros(tensor.shape[:1])


FORMS = {"T": _transposed, "patches": _patches, "square": _square, "zeros": _zeros}


def _names(source: str) -> list[str]:
    found = _HEADS.match(source)
    return source[found.end() if found else 0 :].split(" | ")


def prefixed(prefix: str, source: str) -> str:
    """The source with a prefix before each of its names."""
    found = _HEADS.match(source)
    return (found[0] if found else "") + " | ".join(prefix + one for one in _names(source))


def bare(sources: Iterable[str]) -> set[str]:
    """The names of all tensors that are read, without what is asked of them."""
    return {_taken(name).name for source in sources for name in _names(source)}


def assemble(source: str, tensors: Mapping[str, Tensor], axes: tuple[Expr, ...], where: str) -> Tensor:
    """Our tensor, which stands on these axes."""
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
    if taken.form:
        tensor = FORMS[taken.form](tensor)
    return tensor.flatten(0, 1) if taken.flat and tensor.dim() > 1 else tensor


def _by_head(pieces: list[Tensor], rows: Expr, order: list[int], path: str, where: str) -> Tensor:
    """Rows that come head by head, a piece of each of our parts in that order, as our parts one after the other."""
    sizes, heads = _runs(rows), next(rows.leaves()).size
    if sum(map(len, pieces)) != rows.size or any(len(piece) % heads for piece in pieces):
        had = " and ".join(str(len(piece)) for piece in pieces)
        raise UsageError(f"{where}: {path} takes {rows.size} rows of {heads} heads, and the checkpoint has {had}")
    whole, order = torch.cat([piece.unflatten(0, (heads, -1)) for piece in pieces], 1), order or [*range(len(sizes))]
    runs = dict(zip(order, whole.split([sizes[part] // heads for part in order], 1)))
    return torch.cat([runs[part].flatten(0, 1) for part in range(len(sizes))])


def taken_apart(source: str, tensor: Tensor, rows: Expr) -> list[tuple[str, int | None, Tensor]]:
    """What `assemble` made a tensor of: the names, which of their matrices (None: all), and their numbers.

    UsageError where a source is one that is only read.
    """
    names, found = _names(source), _HEADS.match(source)
    taken = [_taken(name) for name in names]
    if any(one.of > 1 or one.flat or one.form not in ("", "T") for one in taken) or (found and len(names) > 1):
        raise UsageError(f"{source} is a form of tensors that is read and not written")
    if found:
        sizes, heads = _runs(rows), next(rows.leaves()).size
        order = [*map(int, (found[1] or "").split())] or [*range(len(sizes))]
        runs = [run.unflatten(0, (heads, -1)) for run in tensor.split(sizes)]
        tensor = torch.cat([runs[part] for part in order], 1).flatten(0, 1)
    sizes = _runs(rows) if len(names) > 1 else [len(tensor)]
    if len(sizes) != len(names) or sum(sizes) != len(tensor):
        raise UsageError(f"{source} has {len(names)} names for {len(sizes)} runs of rows, which is not written")
    pieces = zip(taken, tensor.split(sizes))
    return [(one.name, one.matrix, FORMS[one.form](piece) if one.form else piece) for one, piece in pieces]


def put_together(pieces: Iterable[tuple[str, int | None, Tensor]]) -> dict[str, Tensor]:
    """Tensors by name; matrices of one name one behind the other, along a first dimension."""
    whole: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    for name, matrix, tensor in pieces:
        if matrix is None:
            whole[name] = tensor
        else:
            parts.setdefault(name, {})[matrix] = tensor
    return whole | {name: torch.stack([found[n] for n in sorted(found)]) for name, found in parts.items()}


def _runs(rows: Expr) -> list[int]:
    """The sizes of what lies side by side, also inside of what does."""
    return [size for part in rows.parts for size in _runs(part)] if isinstance(rows, Cat) else [rows.size]


def renumbered(tensor: Tensor, axes: tuple[Expr, ...], axis: Axis, order: Tensor) -> Tensor:
    """The channels of an axis in our order, in every dimension where they stand."""
    for dim, expr in enumerate(axes):
        if any(leaf is axis for leaf in expr.leaves()) and tensor.dim() == len(axes):
            index = expr.find(axis, order)
            tensor = tensor.index_select(dim, index) if tensor.shape[dim] == len(index) else tensor
    return tensor


def shaped(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The tensor in this shape where nothing but dimensions of 1 is between them."""
    alike = [n for n in tensor.shape if n != 1] == [n for n in shape if n != 1]
    return tensor.reshape(shape) if alike else tensor


def each(path: str, source: str, parameters: Iterable[str]) -> dict[str, str]:
    """A path and its source; of a path with * each that there is, with its number in the source."""
    if "*" not in path:
        return {path: source}
    number = re.compile(re.escape(path).replace(r"\*", r"(\d+)"))
    found = [match for match in map(number.fullmatch, parameters) if match]
    return {match[0]: source.replace("{}", match[1]) for match in found}


class _Taken(NamedTuple):
    """Of a tensor: one of its matrices or all (None), one of `of` runs of rows, in a form, one behind the other."""

    name: str
    matrix: int | None
    run: int
    of: int
    form: str
    flat: bool


def _taken(text: str) -> _Taken:
    name, _, run = text.partition(" ")
    flat, (first, _, of) = run == "flat", run.removesuffix("flat").partition("/")
    before, _, form = name.rpartition(".")
    before, form = (before, form) if form in FORMS else (name, "")
    held, _, matrix = before.partition("[")
    number = int(matrix.removesuffix("]")) if matrix else None
    return _Taken(held, number, int(first or 0), int(of or 1), form, flat)


def all_taken(sources: Iterable[str], tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse a tensor of several matrices that are not as many as what is made of them."""
    taken = [_taken(name) for source in sources for name in _names(source)]
    for held, many in Counter(each.name for each in taken if each.matrix is not None).items():
        if tensors[held].dim() != 3 or tensors[held].shape[0] != many:
            raise UsageError(f"{where}: {held} is {tuple(tensors[held].shape)}; config.json asks for {many} matrices")
