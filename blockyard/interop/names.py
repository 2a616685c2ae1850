"""From our parameter paths to the names in somebody else's checkpoint, as data; a source is read by `sources.py`."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.part import Position
from blockyard.interop.sources import (
    all_taken,
    assemble,
    bare,
    each,
    prefixed,
    put_together,
    renumbered,
    shaped,
    taken_apart,
)
from blockyard.model.model import Model


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
        parameters = [path for path, _ in model.named_parameters()]
        table = self.table(model, parameters)
        return {path: table[path] for path in parameters}

    def table(self, model: Model, parameters: Iterable[str], room: str = "") -> dict[str, str]:
        """The same of whatever a model of these blocks may have; what is numbered as far as it is among `parameters`;
        those of a tower stand in its `room`."""
        table, met = {f"{room}{path}": source for path, source in self.ends.items()}, Counter[str]()
        for number, ((name, _), steps) in enumerate(zip(model.depth.plan(), model.depth.blocks)):
            kind = name.rstrip("0123456789")
            prefix = self.base + self._prefix(kind, name[len(kind) :], number, met[name])
            met[name] += 1
            for step, names in zip(steps, self.blocks.get(name) or self.blocks[kind]):
                for path, source in names.items():
                    table |= each(f"{room}steps.{step}.{path}", prefixed(prefix, source), parameters)
        for name, names in self.towers.items():
            tower = model.towers[name]
            assert isinstance(tower, Model)
            table |= names.table(tower, parameters, f"{room}towers.{name}.")
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
        wanted = bare(sources.values())
        found = self._without_others(found, wanted, where)
        if missing := sorted(wanted - found.keys()):
            raise UsageError(f"{where}: {_some(missing)} missing from the checkpoint")
        if extra := sorted(found.keys() - wanted):
            raise UsageError(f"{where}: the checkpoint has {_some(extra)}, which config.json does not explain")
        all_taken(sources.values(), found, where)
        shapes = {path: p.shape for path, p in model.named_parameters()}
        uses = {use.path: use.axes for use in model.uses}
        made = {
            path: shaped(assemble(source, found, uses[path], where), shapes[path]) for path, source in sources.items()
        }
        for path, tensor in made.items():
            if tensor.shape != shapes[path]:
                had, asked = tuple(tensor.shape), tuple(shapes[path])
                raise UsageError(f"{where}: {sources[path]} has the shape {had}, and config.json asks for {asked}")
        for position in (part for part in model.parts() if isinstance(part, Position)):
            if position.elsewhere is not None:
                made = {path: renumbered(tensor, uses[path], *position.elsewhere) for path, tensor in made.items()}
        return made

    def invert(self, model: Model, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors from our parameters, by path: what `convert` reads as these again."""
        made = dict(ours)
        uses = {use.path: use.axes for use in model.uses}
        for position in reversed([part for part in model.parts() if isinstance(part, Position)]):
            if position.elsewhere is not None:
                axis, order = position.elsewhere
                back = axis, order.argsort()
                made = {path: renumbered(tensor, uses[path], *back) for path, tensor in made.items()}
        pieces = []
        for path, source in self.sources(model).items():
            pieces += taken_apart(source, made[path], uses[path])
        return put_together(pieces)

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


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
