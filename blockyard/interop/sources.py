"""What one of our tensors is made of, in the names of somebody else's checkpoint.

A source is the text of one or several names:

    "attn.out.weight"            the tensor as it is
    "attn.c_proj.weight.T"       transposed
    "q.weight | k.weight"        the rows of the first, then those of the second (our fused projections)
    "heads of qkv.weight"        its rows head by head: a head's queries, its key, its value, then the next head's
    "heads 0 2, 1 of a | b"      the same of several tensors; a head has our pieces 0 and 2 in the first, 1 in the other
    "q.weight 0/2"               of every two runs of rows as wide as a head the first
    "gate.weight.T flat"         its matrices, each transposed, or its rows, one behind the other
    "experts.{}.up.weight"       for a path with * in the place of a number: the tensor of that number
    "experts.weight[{}]"         the same, where one tensor holds all of them along its first dimension
    "conv.weight.patches"        a filter (D,C,P,P) as the matrix (D, P P C) of a patch
    "conv.weight.depthwise"      a filter (C,1,W) of one channel each as (C,W)
    "bias_table.square"          a table ((2n-1)^2, H) as (2n-1, 2n-1, H)
    "cls_token.row"              a row (1,N,D) as (N,D)
    "k_proj.weight.zeros"        zeros, one a row: what theirs does not add

Every form is read and written: what `assemble` makes of their tensors, `taken_apart` and `put_together` undo, by the
axes that ours stands on. When read, dimensions of 1 come and go. Where a position turns other channels of a head than
theirs does, the channels of that head are put into our order wherever they stand.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.axis import Axis, Cat, Expr
from blockyard.core.errors import UsageError

_HEADS = re.compile(r"heads (?:([\d ,]+) )?of ")
KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class _Form(NamedTuple):
    """What is asked of a tensor: how it is read, and how it is written from ours and the axes of that; None: not."""

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, tuple[Expr, ...]], Tensor] | None


def _transposed(tensor: Tensor, axes: tuple[Expr, ...] = ()) -> Tensor:
    return tensor.mT.contiguous() if tensor.dim() > 2 else tensor.T.contiguous()


def _patches(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1).flatten(1) if tensor.dim() == 4 else tensor


def _filter(tensor: Tensor, axes: tuple[Expr, ...]) -> Tensor:
    return tensor.unflatten(1, axes[1].shape).permute(0, 3, 1, 2).contiguous()


def _square(tensor: Tensor) -> Tensor:
    side = math.isqrt(tensor.shape[0]) if tensor.dim() else 0
    return tensor.unflatten(0, (side, side)) if side and side * side == tensor.shape[0] else tensor


FORMS = {
    "T": _Form(_transposed, _transposed),
    "patches": _Form(_patches, _filter),
    "depthwise": _Form(lambda x: x[:, 0] if x.dim() > 2 and x.shape[1] == 1 else x, lambda x, _: x[:, None]),
    "square": _Form(_square, lambda x, _: x.flatten(0, 1)),
    "row": _Form(lambda x: x[0] if x.dim() > 1 and len(x) == 1 else x, lambda x, _: x[None]),
    "zeros": _Form(lambda x: x.new_zeros(x.shape[:1]), None),
}


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
        return _by_head(pieces, axes[0], [part for order in _order(found, axes[0]) for part in order], source, where)
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _piece(name: str, tensors: Mapping[str, Tensor], axes: tuple[Expr, ...], where: str) -> Tensor:
    """What a source takes of one tensor."""
    taken = _taken(name)
    tensor = tensors[taken.name]
    if tensor.dtype not in KINDS:
        raise UsageError(f"{where}: {name} holds {tensor.dtype}; quantised checkpoints are not known")
    if taken.matrix is not None:
        tensor = tensor[taken.matrix]
    if taken.of > 1:
        wide = [*axes[0].leaves()][-1].size
        if not tensor.dim() or len(tensor) % (wide * taken.of):
            raise UsageError(f"{where}: {taken.name} is {tuple(tensor.shape)}, not runs of {taken.of} x {wide} rows")
        tensor = tensor.unflatten(0, (-1, taken.of, wide))[:, taken.run].flatten(0, 1)
    for form in taken.forms:
        tensor = FORMS[form].read(tensor)
    return tensor.flatten(0, 1) if taken.flat and tensor.dim() > 1 else tensor


def _by_head(pieces: list[Tensor], rows: Expr, order: list[int], path: str, where: str) -> Tensor:
    """Rows that come head by head, a piece of each of our parts in that order, as our parts one after the other."""
    sizes, heads = _runs(rows), next(rows.leaves()).size
    if sum(map(len, pieces)) != rows.size or any(len(piece) % heads for piece in pieces):
        had = " and ".join(str(len(piece)) for piece in pieces)
        raise UsageError(f"{where}: {path} takes {rows.size} rows of {heads} heads, and the checkpoint has {had}")
    whole = torch.cat([piece.unflatten(0, (heads, -1)) for piece in pieces], 1)
    runs = dict(zip(order, whole.split([sizes[part] // heads for part in order], 1)))
    return torch.cat([runs[part].flatten(0, 1) for part in range(len(sizes))])


def _order(found: re.Match[str], rows: Expr) -> list[list[int]]:
    """Which of our pieces a head has in each of the tensors, in order."""
    if found[1] is None:
        return [[*range(len(_runs(rows)))]]
    return [[*map(int, one.split())] for one in found[1].split(",")]


class Written(NamedTuple):
    """What goes into one tensor of theirs: all of it, or one of its matrices, or one of `of` runs of `wide` rows."""

    name: str
    tensor: Tensor
    matrix: int | None = None
    run: int = 0
    of: int = 1
    wide: int = 0


def taken_apart(source: str, tensor: Tensor, axes: tuple[Expr, ...]) -> list[Written]:
    """What `assemble` made a tensor of, which stands on these axes; UsageError where rows do not come apart."""
    names, found, rows = _names(source), _HEADS.match(source), axes[0] if axes else None
    if rows is None:
        pieces = [tensor]
    elif found:
        heads, runs = next(rows.leaves()).size, tensor.split(_runs(rows))
        held = [run.unflatten(0, (heads, -1)) for run in runs]
        pieces = [torch.cat([held[part] for part in order], 1).flatten(0, 1) for order in _order(found, rows)]
    else:
        sizes = _runs(rows) if len(names) > 1 else [len(tensor)]
        if len(sizes) != len(names) or sum(sizes) != len(tensor):
            raise UsageError(f"{source} has {len(names)} names for {len(sizes)} runs of rows, which is not written")
        pieces = [*tensor.split(sizes)]
    written = [_written(_taken(name), piece, axes) for name, piece in zip(names, pieces, strict=True)]
    return [one for one in written if one is not None]


def _written(taken: "_Taken", piece: Tensor, axes: tuple[Expr, ...]) -> Written | None:
    """A piece as theirs has it; None where theirs has none."""
    if taken.flat:
        piece = piece.unflatten(0, axes[0].shape)
    for form in reversed(taken.forms):
        write = FORMS[form].write
        if write is None:
            return None
        piece = write(piece, axes)
    wide = [*axes[0].leaves()][-1].size if taken.of > 1 else 0
    return Written(taken.name, piece, taken.matrix, taken.run, taken.of, wide)


def put_together(pieces: Iterable[Written]) -> dict[str, Tensor]:
    """Tensors by name, of the matrices and of the runs of rows that each has."""
    held: dict[str, list[Written]] = {}
    for piece in pieces:
        held.setdefault(piece.name, []).append(piece)
    made = {}
    for name, found in held.items():
        first = found[0]
        if first.matrix is not None:
            made[name] = torch.stack([one.tensor for one in sorted(found, key=lambda one: one.matrix or 0)])
        elif first.of > 1:
            runs = [one.tensor.unflatten(0, (-1, first.wide)) for one in sorted(found, key=lambda one: one.run)]
            made[name] = torch.stack(runs, 1).flatten(0, 2)
        else:
            made[name] = found[-1].tensor
    return made


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
    """Of a tensor: one of its matrices or all (None), one of `of` runs of rows, in forms, one behind the other."""

    name: str
    matrix: int | None
    run: int
    of: int
    forms: tuple[str, ...]
    flat: bool


def _taken(text: str) -> _Taken:
    name, _, run = text.partition(" ")
    flat, (first, _, of) = run == "flat", run.removesuffix("flat").partition("/")
    forms: tuple[str, ...] = ()
    while (form := name.rpartition(".")[2]) in FORMS:
        name, forms = name.removesuffix(f".{form}"), (form, *forms)
    held, _, matrix = name.partition("[")
    number = int(matrix.removesuffix("]")) if matrix else None
    return _Taken(held, number, int(first or 0), int(of or 1), forms, flat)


def all_taken(sources: Iterable[str], tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse a tensor of several matrices that are not as many as what is made of them."""
    taken = [_taken(name) for source in sources for name in _names(source)]
    for held, many in Counter(each.name for each in taken if each.matrix is not None).items():
        if tensors[held].dim() != 3 or tensors[held].shape[0] != many:
            raise UsageError(f"{where}: {held} is {tuple(tensors[held].shape)}; config.json asks for {many} matrices")
