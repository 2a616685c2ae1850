"""The site of a part at build time: where it stands, and the factories that make what it owns.

Every parameter and buffer comes from a factory, which takes the attribute's name first and records what each of
its dimensions is and, for a projection, what it reads and writes. From these records follow initialisation, weight
decay, counting, narrowing and every other transform; none of them looks at a parameter's name.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from blockyard.core import registry
from blockyard.core.axis import Axis, Expr
from blockyard.core.claims import as_built, keeps
from blockyard.core.errors import UsageError, unknown
from blockyard.core.random import fold
from blockyard.core.settings import check_settings
from blockyard.core.spec import Spec, matching_edits

Init = Callable[[Tensor, torch.Generator], object]


@dataclass(frozen=True)
class Use:
    """One use of a tensor: where it is, what its dimensions are, what it reads and writes as a projection."""

    path: str
    axes: tuple[Expr, ...]
    reads: Expr | None = None
    writes: Expr | None = None
    decay: bool = False
    kept: bool = False  # a statistic: a buffer with axes
    of: str = ""  # the path of the tensor itself, where this use only borrows it


@dataclass
class BuildContext:
    """What a build has recorded so far; one per model."""

    seed: int
    linear: Spec
    edits: tuple[Spec, ...] = ()
    uses: list[Use] = field(default_factory=list)
    axes: dict[str, Axis] = field(default_factory=dict)
    tensors: dict[str, nn.Parameter] = field(default_factory=dict)
    buffers: dict[str, nn.Buffer] = field(default_factory=dict)
    stores: dict[str, Any] = field(default_factory=dict)  # by the path of the tensor
    shared: dict[str, str] = field(default_factory=dict)
    matched_edits: set[Spec] = field(default_factory=set)


@dataclass(frozen=True)
class Site:
    """Where a part stands. `stream` is the axis it maps; `steps` counts the residual writes of a whole forward."""

    path: str
    stream: Axis | Expr
    context: BuildContext
    step: int = 0
    steps: int = 1
    ordinal: int = 0  # how many steps before this one hold the same part
    alike: int = 1  # how many steps of the model hold the same part
    causal: bool = True
    length: int = 1024
    root: str = ""  # the path of the model it stands in, where that is a tower of another
    memory: tuple[tuple[str, Axis | Expr], ...] = ()  # the streams that towers leave to be read, by their names
    grid: tuple[int, ...] | None = None  # rows, columns of tokens; empty: in a row; None: not known, made alone
    axis_sizes: tuple[tuple[str, int], ...] = ()
    first_path: str = ""  # the path, where parts on the way renamed what they own, under the first names
    renamed: Mapping[str, str] = field(default_factory=dict)  # of the part that is built here, by old name

    def child(self, name: str) -> str:
        """The path of what a part owns under this name."""
        return f"{self.path}.{name}" if self.path else name

    def first_child(self, name: str) -> str:
        """The path of a child under first names: what numbers are drawn by, so that no new name draws others."""
        name = next((old for old, new in self.renamed.items() if new == name), name)
        path = self.first_path or self.path
        return f"{path}.{name}" if path else name

    def beside(self, path: str) -> str:
        """The whole path of something in the same model: `stem.table`, say."""
        return f"{self.root}.{path}" if self.root else path

    def axis_of(self, path: str) -> Axis | None:
        """An axis of the same model that was made before, such as `stem.vocab`; None where there is none."""
        return self.context.axes.get(self.beside(path))

    def memory_of(self, name: str) -> Expr:
        """The axis of what a tower leaves to be read."""
        found = dict(self.memory)
        if name not in found:
            raise unknown(f"tower that {self.path or 'part'} can read", name, found)
        return found[name]

    def on(self, axis: Expr) -> "Site":
        """The site of a slot that stands on another axis."""
        return replace(self, stream=axis)

    def axis(self, name: str, default: int | Callable[[], int]) -> Axis:
        """A new axis of this part; an edit of `axes.<name>` wins over the default, which is then never derived."""
        size = dict(self.axis_sizes).get(name)
        if size is None:
            size = default() if callable(default) else default
        if size < 1:
            raise UsageError(f"{self.path or 'part'}: axis {name} has size {size}; it must be at least 1")
        made = self.context.axes[self.child(name)] = Axis(name, size)
        return made

    def divide(self, what: str, total: int, by: int) -> int:
        """total / by, or an error that says what does not divide."""
        if by < 1 or total % by:
            raise UsageError(f"{self.path or 'part'}: {what}={by} does not divide {total}")
        return total // by

    def per_head(self, heads: int, times: int = 1) -> Callable[[], int]:
        """The default size of a head's channels: the stream, or a multiple of it, divided by the heads."""
        return lambda: times * self.divide("heads", self.stream.size, heads)

    def build(self, name: str, spec: Spec, *args: Any) -> Any:
        """The part of a spec at this site, under the attribute `name`; edits of its path are applied."""
        path, first_path = self.child(name), self.first_child(name)
        edits = matching_edits(self.context.edits, path, first_path)
        self.context.matched_edits.update(edits)
        settings, sizes = dict(spec.settings), {}
        for edit in edits:
            for key, value in edit.settings:
                if key.startswith("axes."):
                    sizes[key.removeprefix("axes.")] = value
                elif key == "spec":
                    spec, settings = value, dict(value.settings)
                else:
                    settings[key] = value
        entry = registry.find(spec.kind, spec.name)
        settings = check_settings(entry, settings, path)
        before = set(self.context.axes) if sizes else set()
        made_of = entry.load_named()
        if self.grid == () and made_of.on_grid:
            raise UsageError(f"{path}: {spec.kind}:{spec.name} needs tokens on a grid, and here they lie in a row")
        if not self.causal and not keeps(made_of.claims, made_of.known, "bidirectional"):
            raise _one_way(path, entry)
        site = replace(self, path=path, first_path=first_path, renamed=made_of.renamed, axis_sizes=tuple(sizes.items()))
        part = made_of(site, *args, **settings)
        for key in sizes:
            made = {key.rpartition(".")[2] for key in set(self.context.axes) - before if key.rpartition(".")[0] == path}
            if key not in made:
                raise unknown(f"axis of {path}", key, made)
        part.path, part.spec, part.stream = path, Spec.of(spec.kind, spec.name, settings), self.stream
        part.causal, part.claims = self.causal, as_built(part.claims, causal=self.causal)
        return part

    def slot(self, name: str, spec: Spec | None, on: Expr | None = None) -> Any:
        """An optional part in a slot, standing on `on`; None where the slot is empty."""
        return None if spec is None else (self if on is None else self.on(on)).build(name, spec)

    def hold(self, name: str, why: str) -> None:
        """Fix every axis of the part under `name`: where it is built for what its owner gives it, and for no less."""
        for path, axis in self.context.axes.items():
            if path.startswith(f"{self.child(name)}."):
                axis.fixed = why

    def linear(
        self, name: str, reads: Expr, writes: Expr, *, bias: bool = False, gain: float = 1.0, kind: Spec | None = None
    ) -> Any:
        """A projection: of the model's kind of linear, of a `kind` that the part's equations name, or of an edit's."""
        scale = gain * self.steps**-0.5 if writes is self.stream and self.steps > 1 else gain
        return self.build(name, kind or self.context.linear, reads, writes, bias, scale)

    def matrix(
        self, name: str, store: Spec, rows: Expr, columns: Expr, std: float, **use: Any
    ) -> tuple[Any, Tensor]:  # fmt: skip
        """A normal matrix as a store keeps it: the store, which multiplies by it, and the tensor."""
        made = self.context.stores[self.child(name)] = self.build("store", store)
        made.name = name
        site = replace(self, renamed={made.called: name}) if made.called else self
        return made, made.make(site, name, rows, columns, std, **use)

    def param(
        self, name: str, axes: tuple[Expr, ...], init: Init, *, decay: bool = False,
        reads: Expr | None = None, writes: Expr | None = None,
    ) -> nn.Parameter:  # fmt: skip
        """A parameter with its axes; the same numbers for the same (seed, path), whatever else is built."""
        path = self.child(name)
        value = _empty(path, tuple([axis.size for axis in axes]))
        if value.device.type != "meta":
            with torch.no_grad():
                init(value, torch.Generator().manual_seed(fold(self.context.seed, self.first_child(name))))
        self.context.uses.append(Use(path, axes, reads, writes, decay))
        made = self.context.tensors[path] = nn.Parameter(value)
        return made

    def buffer(
        self, name: str, make: Callable[[torch.Generator], Tensor], axes: tuple[Expr, ...] | None = None
    ) -> nn.Buffer:
        """A tensor that is saved, not learned; `make` gets what the (seed, path) draws; with axes it is narrowed."""
        path = self.child(name)
        if axes is not None:
            self.context.uses.append(Use(path, axes, kept=True))
        made = nn.Buffer(make(torch.Generator().manual_seed(fold(self.context.seed, self.first_child(name)))))
        self.context.buffers[path] = made
        return made

    def statistic(self, name: str, axes: tuple[Expr, ...], start: float) -> nn.Buffer:
        """A tensor with axes that a part keeps by `update`: saved and narrowed, not learned by gradients."""
        return self.buffer(name, lambda _: torch.full(tuple([axis.size for axis in axes]), float(start)), axes)

    def shared(self, name: str, key: str, make: Callable[[], nn.Parameter]) -> nn.Parameter:
        """A parameter that several parts own together: the first asker makes it, all get the same one."""
        key = self.beside(key)
        if key not in self.context.shared:
            made = make()
            self.context.shared[key] = self.context.uses[-1].path
            return made
        first = next(use for use in self.context.uses if use.path == self.context.shared[key])
        self.context.uses.append(replace(first, path=self.child(name), of=first.path))
        return self.context.tensors[first.path]

    def reuse(self, name: str, of: str, reads: Expr | None = None, writes: Expr | None = None) -> tuple[Any, Tensor]:
        """A second use of a matrix made elsewhere, at a whole path (a tied head): its store and the tensor."""
        if of not in self.context.stores:
            raise unknown("matrix to reuse", of, self.context.stores)
        path, held = self.child(name), self.context.stores[of]
        while held.attached_to:  # what is attached to the one use is none of the other's
            held = getattr(held, held.attached_to)
        self.context.stores[path] = held
        if of in self.context.buffers:
            self.context.buffers[path] = self.context.buffers[of]
            return held, self.context.buffers[of]
        made = next(use for use in self.context.uses if use.path == of)
        self.context.uses.append(replace(made, path=path, reads=reads, writes=writes, of=made.of or of))
        tensor = self.context.tensors[path] = self.context.tensors[of]
        return held, tensor


def _one_way(path: str, entry: registry.Entry) -> UsageError:
    """The error for a part that only reads from left to right, with those of its kind that read both ways."""
    others = registry.entries(entry.kind).values()
    able = [e.name for e in others if keeps(e.constant("claims", {}), e.constant("known", {}), "bidirectional")]
    instead = f"; {entry.kind}s that do: {', '.join(able)}" if able else ""
    return UsageError(
        f"{path}: {entry.kind}:{entry.name} does not claim bidirectional and is only built with causal=True{instead}"
    )


def _empty(path: str, shape: tuple[int, ...]) -> Tensor:
    """Room for a parameter, or an error where a setting asks for more than there is."""
    count = prod(shape)
    if torch.empty(0).device.type == "meta":
        if count < 2**60:
            return torch.empty(shape)
    elif count * 4 < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        return torch.empty(shape)
    raise UsageError(f"{path}: {' x '.join(map(str, shape))} numbers are {4 * count / 1e9:,.0f} GB, more than fits")


def normal(std: float) -> Init:
    """Draw from a normal distribution around 0."""
    return lambda value, rng: value.normal_(0, std, generator=rng)


def constant(number: float) -> Init:
    """Fill with a number."""
    return lambda value, rng: value.fill_(number)


def uniform_in(low: float, high: float) -> Init:
    """Draw evenly from [low, high)."""
    return lambda value, rng: value.uniform_(low, high, generator=rng)
