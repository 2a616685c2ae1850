"""Adapters in the folders of the peft library, in and out: adapter_config.json and adapter_model.safetensors.

    LORA (with use_dora: DoRA)    y = W x + s B A x        s = lora_alpha / r, with use_rslora lora_alpha / sqrt(r)
    IA3                           y = l * W x, of feedforward modules W (l * x)

They stand on a model that transformers saved, whose names say which of ours is which of theirs. Several of their
projections that are one of ours become blocks of one pair: with queries and values adapted, A = [A_q; A_v] and B holds
B_q and B_v each in its own rows and columns, zeros elsewhere. On the way out every one gets the rows that are its own,
without the columns that say nothing. Nothing is unpickled; a setting that would change what is computed and is not
known is refused.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.files import is_missing, read_json, write_whole
from blockyard.core.part import Part, Position
from blockyard.core.spec import Spec, linear
from blockyard.interop.names import Names
from blockyard.interop.weights import read_file
from blockyard.model.attach import attach, attachments, place, seat
from blockyard.model.model import Model
from blockyard.model.save import fill, stored

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "lora_dropout",
        "feedforward_modules", "base_model_name_or_path")  # fmt: skip
# what says nothing of the function: which modules are meant follows from the tensors, how they began is past
FREE = ("auto_mapping", "peft_version", "revision", "task_type", "inference_mode", "target_modules", "exclude_modules",
        "init_lora_weights", "init_ia3_weights", "fan_in_fan_out", "layers_to_transform", "layers_pattern",
        "megatron_core", "qalora_group_size", "runtime_config", "loftq_config", "eva_config", "corda_config",
        "lora_ga_config")  # fmt: skip
PLAIN = re.compile(r"[\w.]+")  # a module of theirs, whole
KINDS = {"lora_A": "down", "lora_B": "up", "lora_magnitude_vector": "magnitude", "ia3_l": "scale"}


@dataclass(frozen=True)
class Adapter:
    """An adapter as peft keeps it: its settings, and by module the tensors: down, up, magnitude, scale."""

    where: str
    config: Mapping[str, Any]
    modules: Mapping[str, Mapping[str, Tensor]] = field(repr=False)

    def _of(self, name: str, module: str, usual: Any) -> Any:
        """A setting of one module, where a pattern says another than the usual one."""
        for pattern, value in (self.config.get(name) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return usual

    def factor(self, module: str) -> float:
        """How often the product of a module counts."""
        rank = self._of("rank_pattern", module, self.config.get("r", 8))
        alpha = self._of("alpha_pattern", module, self.config.get("lora_alpha", 8))
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def reads(self, module: str) -> bool:
        """Of factors: whether they are of what the module reads."""
        forward = self.config.get("feedforward_modules") or []
        if isinstance(forward, str):
            return bool(re.fullmatch(forward, module))
        return any(module.endswith(name) for name in forward)


def is_peft(folder: Path) -> bool:
    """Whether a folder holds an adapter of peft."""
    return not is_missing(folder / CONFIG)


def base_of(folder: Path) -> Path:
    """The folder of the model that an adapter goes onto, as it says; refused where that is no folder here."""
    named = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not os.path.isdir(named):
        raise UsageError(f"{folder} goes onto {named!r}, which is no folder here; give it: load_peft(adapter, model)")
    return Path(named)


def put_on(model: Model, names: Names, folder: Path) -> Model:
    """The model, imported by these names, with an adapter of peft attached to it."""
    adapter = _read(folder)
    _same_channels(model, str(folder))
    sources, left = names.sources(model), dict(adapter.modules)
    where, tensors = dict[str, Spec](), dict[str, dict[str, Tensor]]()
    for part in model.parts():
        source = sources.get(f"{part.path}.weight", "") if part.spec.kind == "linear" else ""
        modules = [name.removesuffix(".T").removesuffix(".weight") for name in source.split(" | ")]
        found = {module: left.pop(module) for module in modules if module in left}
        if found:
            where[part.path], tensors[part.path] = _joined(adapter, part, modules, found, _sizes(model, part, modules))
    if left:
        raise UsageError(f"{folder}: {next(iter(left))} is no projection of {names.base.rstrip('.')} that we adapt")
    made, _ = attach(model, where)
    held = stored(made)
    for path, own in tensors.items():
        for name, tensor in own.items():
            like = held[f"{path}.{name}"]
            if like.shape != tensor.shape:
                raise UsageError(f"{folder}: {path}.{name} is {tuple(tensor.shape)}, the model has {tuple(like.shape)}")
            held[f"{path}.{name}"] = tensor.to(like.dtype)
    return fill(made, held, next(model.parameters()).device)


def save_adapter(model: Model, names: Names, folder: str | Path, base: str | Path) -> Path:
    """Write what is attached to a model, imported by these names, as peft keeps it; what peft has no word for is
    refused.

    base   the folder of the model that it goes onto
    """
    folder, taken = Path(folder), attachments(model)
    if not taken:
        raise UsageError("nothing is attached to this model; see: blockyard adapt")
    check_kept(taken)
    _same_channels(model, str(base))
    plain = _bare(model, names)
    modules: dict[str, dict[str, Tensor]] = {}
    for part in taken:
        source = plain[f"{seat(part, taken)}.weight"]
        pieces = [name.removesuffix(".T").removesuffix(".weight") for name in source.split(" | ")]
        if odd := next((piece for piece in pieces if not PLAIN.fullmatch(piece)), None):
            raise UsageError(f"{part.path} is {odd!r} of theirs, and peft has no word for a piece of a module")
        modules |= _split(part, pieces, _sizes(model, part, pieces))
    turned = any(source.endswith(".T") for source in plain.values())
    config = _config(taken, modules, str(base)) | {"fan_in_fan_out": turned}
    tensors = {
        f"{PREFIX}{module}.{_theirs(name)}": tensor.detach().cpu().clone().contiguous()
        for module, own in modules.items() for name, tensor in own.items() if name != "factor"
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [path.name for path in folder.iterdir() if path.name not in (CONFIG, WEIGHTS)]
    if strangers and not is_peft(folder):
        raise UsageError(f"{folder} is not empty and holds no adapter of peft ({strangers[0]}); name another folder")
    write_whole(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / CONFIG, json.dumps(config, indent=2).encode())
    return folder


def _same_channels(model: Model, where: str) -> None:
    """Refuse where rows stand in another order than theirs."""
    if any(isinstance(part, Position) and part.elsewhere is not None for part in model.parts()):
        raise UsageError(f"{where}: heads have their channels in another order than theirs; merge with peft before")


def check_kept(taken: list[Part]) -> None:
    """Refuse attachments that peft has no word for."""
    kinds = {f"{part.spec.kind}:{part.spec.name}" for part in taken}
    if len(kinds) > 1 or not kinds <= {"linear:lora", "linear:dora", "linear:ia3"}:
        raise UsageError(f"peft keeps one of LoRA, DoRA and IA3 in a folder, and here is {', '.join(sorted(kinds))}")
    if any(getattr(each, each.attached_to) in taken for each in taken):
        raise UsageError("of two adapters on one projection peft keeps one; merge the inner one first")


def _read(folder: Path) -> Adapter:
    """The adapter of a folder, checked."""
    config = read_json(folder / CONFIG)
    where = str(folder / CONFIG)
    kind = config.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise UsageError(f"{where}: peft_type={kind!r} cannot be read: LORA and IA3 are known")
    for name, value in config.items():
        if name in READ or name in FREE or value in (None, False, "none") or value in ({}, []):
            continue
        raise UsageError(f"{where}: {name}={value!r} cannot be read: it may change what the adapter computes")
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in read_file(folder / WEIGHTS).items():
        words = name.removeprefix(PREFIX).removesuffix(".weight").split(".")
        if not name.startswith(PREFIX) or words[-1] not in KINDS:
            raise UsageError(f"{folder / WEIGHTS}: {name} is not known")
        shaped = tensor.flatten() if words[-1] in ("ia3_l", "lora_magnitude_vector") else tensor
        modules.setdefault(".".join(words[:-1]), {})[KINDS[words[-1]]] = shaped
    wanted = {"scale"} if kind == "IA3" else {"down", "up", *(["magnitude"] if config.get("use_dora") else [])}
    for module, own in modules.items():
        if own.keys() != wanted:
            raise UsageError(f"{folder / WEIGHTS}: {module} has {', '.join(sorted(own))}, and {kind} is "
                             f"{', '.join(sorted(wanted))}")  # fmt: skip
    if not modules:
        raise UsageError(f"{folder / WEIGHTS} holds no tensor")
    return Adapter(str(folder), config, modules)


def _sizes(model: Model, part: Part, modules: list[str]) -> list[int]:
    """How many rows of a projection each of their modules has."""
    pieces = next(use.writes for use in model.uses if use.path.startswith(f"{part.path}.") and use.decay
                  and use.writes is not None and len(use.axes) == 2 and use.axes[0] is use.writes)  # fmt: skip
    parts = getattr(pieces, "parts", (pieces,))
    if len(parts) == len(modules):
        return [each.size for each in parts]
    if len(modules) == 1:
        return [pieces.size]
    raise UsageError(f"{part.path} is {len(modules)} projections of theirs, and {len(parts)} of ours")


def _joined(
    adapter: Adapter, part: Part, modules: list[str], found: Mapping[str, Mapping[str, Tensor]], sizes: list[int]
) -> tuple[Spec, dict[str, Tensor]]:
    """What is attached to one of our projections, and its tensors, from the adapters of the pieces it is made of."""
    if adapter.config["peft_type"] == "IA3":
        sides = {adapter.reads(module) for module in found}
        if sides == {True} and len(found) == len(modules):
            first, *others = (own["scale"] for own in found.values())
            if all(torch.equal(first, other) for other in others):
                return linear("ia3", side="reads"), {"scale": first}
        if sides != {False}:
            raise UsageError(f"{adapter.where}: {', '.join(found)} read the same numbers, which get other factors each")
        rows = [found[m]["scale"] if m in found else torch.ones(n) for m, n in zip(modules, sizes)]
        return linear("ia3", side="writes"), {"scale": torch.cat([row.to(rows[-1].dtype) for row in rows])}
    factors = {module: adapter.factor(module) for module in found}
    one = len(set(factors.values())) == 1
    ranks = [len(own["down"]) for own in found.values()]
    rank, dtype, at = sum(ranks), next(iter(found.values()))["up"].dtype, 0
    up = torch.zeros(sum(sizes), rank, dtype=dtype)
    for module, first, rows in zip(modules, [sum(sizes[:i]) for i in range(len(sizes))], sizes):
        if module not in found:
            continue
        own = found[module]["up"]
        if own.shape != (rows, len(found[module]["down"])):
            raise UsageError(f"{adapter.where}: lora_B of {module} is {tuple(own.shape)}, the model has {rows} rows")
        up[first : first + rows, at : at + own.shape[1]] = own if one else own * factors[module]
        at += own.shape[1]
    made = {"down": torch.cat([own["down"] for own in found.values()]), "up": up}
    said = {"rank": rank, "alpha": next(iter(factors.values())) * rank if one else float(rank)}
    if adapter.config.get("lora_dropout"):
        said["dropout"] = float(adapter.config["lora_dropout"])
    if not adapter.config.get("use_dora"):
        return linear("lora", **said), made
    lengths: Any = part  # of rows that nothing turns
    usual = torch.linalg.vector_norm(lengths.matrix().detach(), dim=1).split(sizes)
    rows = [found[m]["magnitude"] if m in found else own for m, own in zip(modules, usual)]
    return linear("dora", **said), made | {"magnitude": torch.cat([row.to(usual[0].dtype) for row in rows])}


def _bare(model: Model, names: Names) -> dict[str, str]:
    """The source of every tensor of the backbone, by the path that it has without attachments."""
    taken = attachments(model)
    own = {str(place(name, taken)) for name in stored(model)} - {"None"}
    return {path: source for path, source in names.table(model, own).items() if path in own}


def _split(part: Any, modules: list[str], sizes: list[int]) -> dict[str, dict[str, Any]]:
    """The adapters of the pieces that one of our projections is made of; of a piece that nothing is done to, none."""
    if part.spec.name == "ia3":
        if part.side == "reads":
            return {module: {"reads": part.scale[None]} for module in modules}
        found = {m: {"writes": row[:, None]} for m, row in zip(modules, part.scale.split(sizes))}
        said = {m: own for m, own in found.items() if not (own["writes"] == 1).all()}
        return said or found
    rows = dict(zip(modules, part.up.split(sizes)))
    used = {module: (up != 0).any(0) for module, up in rows.items()}
    lengths = dict(zip(modules, part.magnitude.split(sizes))) if part.spec.name == "dora" else {}
    if not any(bool(kept.any()) for kept in used.values()):
        used = {module: torch.ones_like(kept) for module, kept in used.items()}
    usual = dict(zip(modules, torch.linalg.vector_norm(part.base.matrix(), dim=1).split(sizes))) if lengths else {}
    found = {}
    for module, up in rows.items():
        kept = used[module]
        if not kept.any():
            if module not in lengths or torch.equal(lengths[module], usual[module]):
                continue
            kept = torch.ones_like(kept)
        found[module] = {"down": part.down[kept], "up": up[:, kept], "factor": part.factor}
        found[module] |= {"magnitude": lengths[module]} if lengths else {}
    return found


def _theirs(name: str) -> str:
    """The end of the name of a tensor, as peft has it."""
    if name in ("reads", "writes"):
        return "ia3_l"
    theirs = next(theirs for theirs, ours in KINDS.items() if ours == name)
    return theirs if name == "magnitude" else f"{theirs}.weight"


def _config(taken: list[Part], modules: Mapping[str, Mapping[str, Any]], base: str) -> dict[str, Any]:
    """The adapter_config.json of these modules."""
    common = {"base_model_name_or_path": base, "task_type": "CAUSAL_LM", "inference_mode": True,
              "target_modules": sorted(modules)}  # fmt: skip
    if taken[0].spec.name == "ia3":
        forward = sorted(module for module, own in modules.items() if "reads" in own)
        return {"peft_type": "IA3", **common, "feedforward_modules": forward}
    ranks = {module: len(own["down"]) for module, own in modules.items()}
    alphas = {module: own["factor"] * ranks[module] for module, own in modules.items()}
    alphas = {module: int(alpha) if alpha == int(alpha) else alpha for module, alpha in alphas.items()}
    rank, alpha = (Counter(each.values()).most_common(1)[0][0] for each in (ranks, alphas))
    return {
        "peft_type": "LORA", **common, "r": rank, "lora_alpha": alpha, "bias": "none",
        "lora_dropout": float(max(part.spec.get("dropout", 0.0) for part in taken)),
        "use_dora": taken[0].spec.name == "dora", "use_rslora": False,
        "rank_pattern": {module: each for module, each in ranks.items() if each != rank},
        "alpha_pattern": {module: each for module, each in alphas.items() if each != alpha},
    }  # fmt: skip
