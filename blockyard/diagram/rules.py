"""What an operation of the framework is in a diagram: another reading of a wire, an einsum, or a function on some axes.

A rule gets the sheet, the operation's arguments by name and what came out. What has no rule and works number by number
is known by the framework's own tag; anything else is a box whose axes are found by their sizes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import flop_registry

from blockyard.core.call import Call
from blockyard.diagram.affine import Affine
from blockyard.diagram.box import Groups, Read
from blockyard.diagram.sheet import Meeting, Reading, Sheet, Unclear

Rule = Callable[[Sheet, dict[str, Any], Any], None]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """This function is the rule of these operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """By name, with the defaults of the operation."""
    schema = func._schema.arguments
    found = {one.name: one.default_value for one in schema if one.has_default_value()}
    return found | {one.name: value for one, value in zip(schema, args)} | kwargs


def at(x: Tensor, dim: int) -> int:
    """A dimension counted from the front."""
    return dim % max(1, x.dim())


# another reading


@rule("aten::view", "aten::_unsafe_view", "aten::reshape", "aten::_reshape_alias")
def _view(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    if out.dtype != a["self"].dtype:
        raise Unclear("the same bits as other numbers")
    sheet.set(out, sheet.folded(sheet.of(a["self"]), out.shape))


@rule("aten::clone", "aten::alias", "aten::detach", "aten::contiguous", "aten::lift_fresh")
def _same(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    sheet.set(out, sheet.of(a["self"]))


@rule("aten::copy_")
def _copied(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    anew(sheet, out, "copy", [a["src"]], lambda x: x.to(out.dtype).expand(out.shape))


@rule("aten::t", "aten::transpose", "aten::permute")
def _turned(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, reading = a["self"], sheet.of(a["self"])
    order = [*range(x.dim())]
    if "dims" in a:
        order = [at(x, d) for d in a["dims"]]
    elif x.dim() > 1:
        one, two = at(x, a.get("dim0", 0)), at(x, a.get("dim1", 1))
        order[one], order[two] = two, one
    sheet.set(out, Reading(reading.wire, reading.index, tuple(reading.dims[d] for d in order)))


@rule("aten::unsqueeze")
def _unsqueeze(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    reading, dim = sheet.of(a["self"]), a["dim"] % out.dim()
    sheet.set(out, Reading(reading.wire, reading.index, (*reading.dims[:dim], (), *reading.dims[dim:])))


@rule("aten::squeeze")
def _squeeze(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    sheet.set(out, sheet.folded(sheet.of(a["self"]), out.shape))


@rule("aten::expand")
def _expand(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, reading = a["self"], sheet.of(a["self"])
    dims: list[tuple[str, ...]] = [()] * (out.dim() - x.dim()) + [*reading.dims]
    was = [1] * (out.dim() - x.dim()) + [*x.shape]
    for i, size in enumerate(out.shape):
        if size == was[i]:
            continue
        for name in dims[i]:
            reading = reading.put(name, Affine())
        used = [n for group in dims for n in group]
        like = next((n for n in sheet.running if sheet.sizes[n] == size and n not in used), str(size))
        dims[i] = (sheet.axis(like, size, used),)
    sheet.set(out, Reading(reading.wire, reading.index, tuple(dims)))


@rule("aten::slice")
def _slice(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, step = a["self"], a["step"]
    dim = at(x, a["dim"])
    start = min(max(0, (a["start"] or 0) + (x.shape[dim] if (a["start"] or 0) < 0 else 0)), x.shape[dim])
    _piece(sheet, x, out, dim, start, step)


@rule("aten::split", "aten::split_with_sizes", "aten::chunk")
def _split(sheet: Sheet, a: dict[str, Any], out: Sequence[Tensor]) -> None:
    dim, start = at(a["self"], a["dim"]), 0
    for piece in out:
        _piece(sheet, a["self"], piece, dim, start)
        start += piece.shape[dim]


def _piece(sheet: Sheet, x: Tensor, out: Tensor, dim: int, start: int, step: int = 1) -> None:
    reading = sheet.sliced(sheet.of(x), dim, start, out.shape[dim], step)
    if reading is None:
        flat = x.view_as(x)
        anew(sheet, flat, "flatten", [x], run=lambda t: t)
        reading = sheet.sliced(sheet.of(flat), dim, start, out.shape[dim], step)
        if reading is None:
            raise Unclear("a slice across axes")
    sheet.set(out, reading)


@rule("aten::select")
def _select(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, dim = a["self"], at(a["self"], a["dim"])
    sheet.set(out, sheet.picked(sheet.of(x), dim, a["index"] % x.shape[dim]))


@rule("aten::diagonal")
def _diagonal(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, reading = a["self"], sheet.of(a["self"])
    one, two = at(x, a["dim1"]), at(x, a["dim2"])
    if a["offset"] or len(reading.dims[one]) != 1 or len(reading.dims[two]) != 1 or x.shape[one] != x.shape[two]:
        raise Unclear("a diagonal beside the main one")
    (keep,), (gone,) = reading.dims[one], reading.dims[two]
    moved = reading.put(gone, Affine.of(keep), (keep,))
    rest = tuple(group for d, group in enumerate(moved.dims) if d not in (one, two))
    sheet.set(out, Reading(moved.wire, moved.index, (*rest, (keep,))))


@rule("aten::flip")
def _flip(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    reading = sheet.of(a["self"])
    for dim in a["dims"]:
        for name in reading.dims[at(out, dim)]:
            reading = reading.put(name, Affine(((name, -1),), sheet.sizes[name] - 1), (name,))
    sheet.set(out, reading)


# einsums


@rule("aten::mm", "aten::bmm", "aten::mv", "aten::dot")
def _product(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, y = a["self"], a.get("mat2", a.get("vec", a.get("tensor")))
    assert isinstance(y, Tensor)
    _contract(sheet, x, y, out)


def _contract(sheet: Sheet, x: Tensor, y: Tensor, out: Tensor) -> None:
    met = Meeting(sheet, sheet.of(x), sheet.of(y))
    batch = x.dim() == 3
    if batch:
        met.meet((0, 0), (1, 0))
    met.meet((0, x.dim() - 1), (1, max(0, y.dim() - 2)))
    rows = [met.group(0, d) for d in range(x.dim() - 1)]
    columns = [met.group(1, y.dim() - 1)] if y.dim() > 1 else []
    reads, groups = met.settled(rows + columns)
    sheet.give(out, "linear", reads, groups)


@rule("aten::addmm", "aten::baddbmm")
def _affine_map(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    one, two = (a["mat1"], a["mat2"]) if "mat1" in a else (a["batch1"], a["batch2"])
    product = out.new_empty(out.shape)
    _contract(sheet, one, two, product)
    beta, alpha = a["beta"], a["alpha"]
    pointwise(sheet, out, "add", [a["self"], product], lambda bias, x: beta * bias + alpha * x)


@rule("aten::sum")
def _sum(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, kept = a["self"], a.get("keepdim", False)
    if x.dtype != out.dtype:
        return anew(sheet, out, "sum", [x], run=lambda t: t.sum(a.get("dim"), kept, dtype=out.dtype))
    gone = {at(x, d) for d in a.get("dim") or range(x.dim())}
    met = Meeting(sheet, sheet.of(x))
    reads, groups = met.settled([met.group(0, d) for d in range(x.dim()) if d not in gone])
    left = iter(groups)
    dims = [() if d in gone else next(left) for d in range(x.dim()) if kept or d not in gone]
    sheet.give(out, "linear", reads, groups, tuple(dims))


@rule("aten::convolution")
def _convolution(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    x, weight, groups = a["input"], a["weight"], a["groups"]
    if a["transposed"]:
        raise Unclear("a transposed convolution")
    seen, taps = sheet.of(x), sheet.of(weight)
    if any(a["padding"]):  # what lies outside is outside of this axis, not of the wire that it may be a part of
        sheet.set(x, sheet.own(seen))
        seen = sheet.of(x)
    seen = sheet.folded(seen, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    taps = sheet.folded(taps, (groups, weight.shape[0] // groups, *weight.shape[1:]))
    met = Meeting(sheet, seen, taps)
    met.meet((0, 1), (1, 0))
    met.meet((0, 2), (1, 2))
    made = [met.group(0, 0), met.group(0, 1) + met.group(1, 1)]
    for d in range(x.dim() - 2):
        where, tap = met.group(0, d + 3), met.group(1, d + 3)
        if len(where) > 1 or len(tap) > 1 or (not where and a["padding"][d]):
            raise Unclear("a convolution along a product of axes, or along none")
        steps = met.letter(met.names[where[0]] if where else str(out.shape[d + 2]), out.shape[d + 2])
        terms = ((steps, a["stride"][d]), *((letter, a["dilation"][d]) for letter in tap))
        for letter in where:
            met.shift(0, letter, Affine(terms, -a["padding"][d]), (steps,))
        made.append((steps,))
    reads, folded = met.settled(made)
    plain = out if a["bias"] is None else out.new_empty(out.shape)
    sheet.give(plain, "linear", reads, folded)
    if a["bias"] is not None:
        shape = (-1, *[1] * (out.dim() - 2))
        bias = a["bias"].view(shape)
        sheet.set(bias, sheet.folded(sheet.of(a["bias"]), bias.shape))
        pointwise(sheet, out, "add", [plain, bias], torch.add)


# functions


def pointwise(sheet: Sheet, out: Tensor, name: str, operands: Sequence[Tensor], run: Callable[..., Any]) -> None:
    """A box that takes numbers singly, its operands spread along what they do not have."""
    met = Meeting(sheet, *map(sheet.of, operands))
    made: list[tuple[str, ...]] = []
    aligned: list[list[tuple[str, ...]]] = [[] for _ in operands]
    for back in range(out.dim(), 0, -1):
        places = [(i, x.dim() - back) for i, x in enumerate(operands) if x.dim() >= back]
        wide = [place for place in places if operands[place[0]].shape[place[1]] == out.shape[-back]]
        for place in set(places) - set(wide):
            met.drop(*place)
        met.meet(*wide)
    for back in range(out.dim(), 0, -1):
        wide = [i for i, x in enumerate(operands) if x.dim() >= back and x.shape[-back] == out.shape[-back]]
        made.append(met.group(wide[0], operands[wide[0]].dim() - back))
        for i, x in enumerate(operands):
            there = x.dim() >= back and x.shape[-back] == out.shape[-back]
            aligned[i].append(made[-1] if there else ())
    met.readings = [Reading(one.wire, one.index, tuple(dims)) for one, dims in zip(met.readings, aligned)]
    reads, groups = met.settled(made)
    sheet.give(out, name, reads, groups, run=run)


def along(sheet: Sheet, out: Tensor, name: str, x: Tensor, dims: Sequence[int], keeps: bool,
          run: Callable[..., Any]) -> None:  # fmt: skip
    """A box on the last dimension of what it gets, which is these; it keeps that dimension, or takes it away."""
    met = Meeting(sheet, sheet.of(x))
    worked = [at(x, d) for d in dims]
    rest = [met.group(0, d) for d in range(x.dim()) if d not in worked]
    last = tuple(letter for d in worked for letter in met.group(0, d))
    met.readings[0] = Reading(met.readings[0].wire, met.readings[0].index, (*rest, last))
    reads, groups = met.settled([*rest, last] if keeps else rest)
    reads = [replace(one, full=True) for one in reads]  # all places count, those too where nothing changes
    given = dict(zip([d for d in range(x.dim()) if d not in worked], groups))
    if keeps:
        split, taken = groups[-1], 0
        for d in worked:
            n = len(sheet.of(x).dims[d])
            given[d], taken = split[taken : taken + n], taken + n
    shape = [given.get(d, ()) for d in range(x.dim()) if d in given or out.dim() == x.dim()]
    sheet.give(out, name, reads, groups, tuple(shape), run)


@rule("aten::_softmax", "aten::_log_softmax", "aten::cumsum", "aten::logcumsumexp", "aten::cumprod")
def _kept(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    name = a["name"]
    along(sheet, out, name, a["self"], [a["dim"]], True, lambda x: getattr(torch, name)(x.to(out.dtype), -1))


@rule("aten::native_layer_norm")
def _layer_norm(sheet: Sheet, a: dict[str, Any], out: Sequence[Tensor]) -> None:
    x, n = a["input"], len(a["normalized_shape"])
    plain = x.new_empty(x.shape)
    eps = a["eps"]
    along(sheet, plain, "layer_norm", x, range(x.dim() - n, x.dim()), True,
          lambda t: torch.nn.functional.layer_norm(t, t.shape[-1:], eps=eps))  # fmt: skip
    for name, run in (("weight", torch.mul), ("bias", torch.add)):
        if a[name] is not None:
            scaled = x.new_empty(x.shape)
            pointwise(sheet, scaled, run.__name__, [plain, a[name]], run)
            plain = scaled
    sheet.set(out[0], sheet.of(plain))


@rule("aten::cat")
def _cat(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    pieces = [x for x in a["tensors"] if x.numel()]
    dim = at(out, a["dim"])
    met = Meeting(sheet, *map(sheet.of, pieces))
    for d in range(out.dim()):
        if d != dim:
            met.meet(*((i, d) for i in range(len(pieces))))
    others = [met.group(0, d) for d in range(out.dim()) if d != dim]
    sides = [met.group(i, dim) for i in range(len(pieces))]
    joined = met.letter(
        _joined(sheet, [[met.names[n] for n in side] for side in sides], out.shape[dim]), out.shape[dim]
    )
    met.readings = [Reading(one.wire, one.index, (*others, side)) for one, side in zip(met.readings, sides)]
    reads, groups = met.settled([*others, (joined,)])
    reads = [replace(one, full=True) for one in reads]
    dims = [*groups[:-1]]
    dims.insert(dim, groups[-1])
    sheet.give(out, "cat", reads, groups, tuple(dims), lambda *xs: torch.cat(xs, -1))


def _joined(sheet: Sheet, sides: Sequence[Sequence[str]], size: int) -> str:
    """What is put together again has the name that it had."""
    roots = {"*".join(side).split(":")[0] for side in sides}
    if len(roots) == 1 and sheet.sizes.get(root := roots.pop()) == size:
        return root
    return "+".join("*".join(side) or "1" for side in sides)


@rule("aten::mean", "aten::amax", "aten::amin", "aten::all", "aten::any", "aten::logsumexp", "aten::prod")
def _reduced(sheet: Sheet, a: dict[str, Any], out: Tensor) -> None:
    dim = a.get("dim", [])
    dims = [dim] if isinstance(dim, int) else dim or range(a["self"].dim())
    along(sheet, out, a["name"], a["self"], [*dims], False, lambda x: getattr(torch, a["name"])(x.to(out.dtype), -1))


def anew(sheet: Sheet, out: Any, name: str, operands: Sequence[Tensor], run: Callable[..., Any], ops: int = 0) -> None:
    """A box that is not looked into: its outputs' axes are those of what it is given, by their sizes."""
    reads = [Read(one.wire, one.index, one.dims, full=True) for one in map(sheet.of, operands)]
    outs = [x for x in tree_flatten(out)[0] if isinstance(x, Tensor)]
    have = [group for one in reads for group in one.groups if len(group) > 1 or (group and not group[0].isdigit())]
    groups = [tuple(_alike(sheet, x.shape, have)) for x in outs]
    first = [i for i, x in enumerate(tree_flatten(out)[0]) if isinstance(x, Tensor)]

    def again(*given: Tensor) -> list[Tensor]:
        return [tree_flatten(run(*given))[0][i] for i in first]

    sheet.give_all(outs, name, reads, groups, again, ops)


def _alike(sheet: Sheet, shape: Sequence[int], groups: Sequence[tuple[str, ...]]) -> Groups:
    found: list[tuple[str, ...]] = []
    for size in shape:
        used = {n for group in found for n in group}
        like = next((g for g in groups if not used & {*g} and _size(sheet, g) == size), None)
        if like is None:
            like = () if size == 1 else (sheet.axis(str(size), size, used),)
        elif len(like) > 1:  # the box gives it whole
            like = (sheet.axis("*".join(like), size, used),)
        found.append(like)
    return tuple(found)


def _size(sheet: Sheet, group: Sequence[str]) -> int:
    size = 1
    for name in group:
        size *= sheet.sizes[name]
    return size


def whole(sheet: Sheet, name: str, run: Callable[..., Any], args: Any, kwargs: Any, out: Any, ops: int = 0) -> None:
    """An operation as one box: its tensors, wherever they stand among its arguments, are what it is given."""
    leaves, tree = tree_flatten((args, kwargs), is_leaf=lambda x: isinstance(x, Call))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def again(*given: Tensor) -> Any:
        full = list(leaves)
        for i, x in zip(places, given):
            full[i] = x
        args, kwargs = tree_unflatten(full, tree)
        return run(*args, **kwargs)

    anew(sheet, out, name, [leaves[i] for i in places], again, ops)


def tensors_of(*trees: Any) -> list[Tensor]:
    """All tensors among arguments, in order."""
    found: list[Tensor] = []
    for tree in trees:
        if isinstance(tree, Tensor):
            found.append(tree)
        elif isinstance(tree, list | tuple):
            found += tensors_of(*tree)
        elif isinstance(tree, dict):
            found += tensors_of(*tree.values())
    return found


def written_into(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into."""
    if not func._schema.is_mutable:
        return []
    names = [one.name for one in func._schema.arguments if one.alias_info is not None and one.alias_info.is_write]
    given = arguments(func, args, kwargs)
    return tensors_of([given[name] for name in names])


def write_down(sheet: Sheet, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
    """An operation of the framework that has run; what it wrote into was known before it ran."""
    tensors, written = tensors_of(out), written_into(func, args, kwargs)
    why = next((said for x in tensors_of(args, kwargs) if (said := sheet.lost(x))), None) or _single(
        sheet, func, args, kwargs
    )
    if why is None and tensors and not _ruled(sheet, func, args, kwargs, out, tensors):
        for x in written:
            sheet.forget(x)
        return
    for x in written:
        sheet.overwritten(x)
    for x in tensors:
        if why or not sheet.knows(x):
            sheet.lose(x, why or f"{func} gives more than one tensor that matters")


def _single(sheet: Sheet, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> str | None:
    """Why an operation says nothing of other numbers than those that it ran on; none where it does."""
    name, arguments = func._schema.name.partition("::")[2].strip("_"), func._schema.arguments
    drawn = torch.Tag.nondeterministic_seeded in func.tags and "dot_product" not in name
    if drawn and kwargs.get("generator") is None:
        return f"{name} draws other numbers each time"
    if not any(map(sheet.follows, tensors_of(args, kwargs))):
        return None
    if name in ("as_strided", "set", "resize"):
        return f"{name} reads numbers by where they lie in memory"
    written = any(one.kwarg_only and one.alias_info is not None and one.alias_info.is_write for one in arguments)
    return f"{name} writes into what it is given as out" if written else None


def _ruled(sheet: Sheet, func: Any, args: Any, kwargs: Any, out: Any, tensors: list[Tensor]) -> bool:
    """By a rule, or number by number, or as one box; false for what depends on nothing, which is constant."""
    name = func._schema.name.partition("::")[2].strip("_")
    operands = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    if not any(map(sheet.follows, operands)):
        return False
    if func._schema.name == "aten::_to_copy" and args[0].dtype == tensors[0].dtype:
        sheet.set(tensors[0], sheet.of(args[0]))
        return True
    attempts: list[Callable[[], None]] = []
    if (known := RULES.get(func._schema.name)) is not None:
        given = {**arguments(func, args, kwargs), "name": name}
        attempts.append(lambda: known(sheet, given, out))
    plain = all(not isinstance(x, list | tuple) for x in args)
    if known is None and plain and len(tensors) == 1 and torch.Tag.pointwise in func.tags:
        attempts.append(lambda: pointwise(sheet, tensors[0], name, operands, _repeat(func, args, kwargs)))
    for attempt in attempts:
        try:
            attempt()
            return True
        except Unclear:
            pass
    count = flop_registry.get(func._overloadpacket)
    whole(sheet, name, _plain(func), args, kwargs, out, count(*args, **kwargs, out_val=out) // 2 if count else 0)
    return True


def _plain(func: Any) -> Callable[..., Any]:
    """The operation, on copies of what it would write into."""
    if not func._schema.is_mutable:
        return func
    return lambda first, *rest, **kwargs: func(first.clone(), *rest, **kwargs)


def _spread(func: Any, first: Tensor, *rest: Any, **kwargs: Any) -> Any:
    """One that takes numbers singly, into a copy that is as large as what is written."""
    wide = torch.broadcast_shapes(first.shape, *(x.shape for x in rest if isinstance(x, Tensor)))
    return func(first.expand(wide).clone(), *rest, **kwargs)


def _repeat(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    places = [i for i, x in enumerate(args) if isinstance(x, Tensor)]
    names = [name for name, x in kwargs.items() if isinstance(x, Tensor)]
    run = partial(_spread, func) if func._schema.is_mutable else func

    def again(*given: Tensor) -> Any:
        full, named = list(args), dict(kwargs)
        for i, x in zip(places, given):
            full[i] = x
        named |= dict(zip(names, given[len(places) :]))
        return run(*full, **named)

    return again
