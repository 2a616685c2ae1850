"""Adapters in the folders of the peft library, in and out: adapter_config.json and adapter_model.safetensors.

    LORA (with use_dora: DoRA)    y = W x + s B A x        s = lora_alpha / r, with use_rslora lora_alpha / sqrt(r)
    IA3                           y = l * W x, of feedforward modules W (l * x)
    PROMPT_TUNING, P_TUNING       virtual tokens before every text: peft_prompt.py

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
from blockyard.interop import peft_prompt
from blockyard.interop.names import Names
from blockyard.interop.weights import read_file
from blockyard.model.attach import attach, attachments, place, seat
from blockyard.model.model import Model
from blockyard.model.save import fill, stored

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "init_lora_weights", "rank_pattern", "alpha_pattern",
        "lora_dropout", "feedforward_modules", "base_model_name_or_path")  # fmt: skip
# what says nothing of the function: which modules are meant follows from the tensors
FREE = ("auto_mapping", "peft_version", "revision", "task_type", "inference_mode", "target_modules", "exclude_modules",
        "init_ia3_weights", "fan_in_fan_out", "layers_to_transform", "layers_pattern",
        "megatron_core", "qalora_group_size", "runtime_config", "loftq_config", "eva_config", "corda_config",
        "lora_ga_config")  # fmt: skip
BEGAN = (True, False, None, "gaussian", "eva", "orthogonal")  # that leave the matrices of the model as they are
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
        patterns = self.config.get(name) or {}
        if not isinstance(patterns, dict):
            raise self._refuse(name, "expected an object of patterns")
        for pattern, value in patterns.items():
            if self._fits(name, rf"(.*\.)?({pattern})", module):
                return value
        return usual

    def _refuse(self, name: str, why: str) -> UsageError:
        return UsageError(f"{self.where}: {name}={self.config.get(name)!r} cannot be read: {why}")

    def _fits(self, name: str, pattern: str, module: str) -> bool:
        try:
            return bool(re.fullmatch(pattern, module))
        except re.error as error:
            raise self._refuse(name, f"{error}") from None

    def rank(self, module: str) -> int:
        """The rank of the pair of a module."""
        rank = self._of("rank_pattern", module, self.config.get("r", 8))
        if type(rank) is not int or rank < 1:
            raise self._refuse("r", f"of {module} it is {rank!r}, and a whole number above 0 is meant")
        return rank

    def factor(self, module: str) -> float:
        """How often the product of a module counts."""
        rank = self.rank(module)
        alpha = self._of("alpha_pattern", module, self.config.get("lora_alpha", 8))
        if type(alpha) not in (int, float) or not 0 < alpha < math.inf:
            raise self._refuse("lora_alpha", f"of {module} it is {alpha!r}, and a number above 0 is meant")
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def reads(self, module: str) -> bool:
        """Of factors: whether they are of what the module reads."""
        forward = self.config.get("feedforward_modules") or []
        if isinstance(forward, str):
            return self._fits("feedforward_modules", forward, module)
        if not isinstance(forward, list) or not all(isinstance(name, str) for name in forward):
            raise self._refuse("feedforward_modules", "expected names of modules")
        return any(module.endswith(name) for name in forward)


def is_peft(folder: Path) -> bool:
    """Whether a folder holds an adapter of peft."""
    return not is_missing(folder / CONFIG)


def base_of(folder: Path) -> Path:
    """The folder of the model that an adapter goes onto, as it says; refused where that is no folder here."""
    named = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not os.path.isdir(named):
        raise UsageError(f"{folder} goes onto {named!r}, which is no folder here; give it: load_peft(adapter, model)")
    if is_missing(Path(named) / "config.json"):
        raise UsageError(f"{folder} goes onto {named!r}, which holds no model; give it: load_peft(adapter, model)")
    return Path(named)


def put_on(model: Model, names: Names, folder: Path, *, share: bool = False) -> Model:
    """The model, imported by these names, with an adapter of peft attached to it; `share` as in `attach`."""
    config = read_json(folder / CONFIG)
    if config.get("peft_type") in peft_prompt.KINDS:
        return peft_prompt.put_prompt(model, config, folder, WEIGHTS, share=share)
    adapter = _read(folder)
    _same_channels(model, str(folder))
    sources, left = names.sources(model), dict(adapter.modules)
    where, tensors = dict[str, Spec](), dict[str, dict[str, Tensor]]()
    for part in model.parts():
        modules = _modules(sources.get(f"{part.path}.weight", "")) if part.spec.kind == "linear" else []
        found = {module: left.pop(module) for module in modules if module in left}
        if found:
            _check_matrix(part, adapter.config["peft_type"] == "IA3", str(folder))
            where[part.path], tensors[part.path] = _joined(adapter, part, modules, found, _sizes(model, part, modules))
    if left:
        raise UsageError(f"{folder}: {next(iter(left))} is no projection of {names.base.rstrip('.')} that we adapt")
    made, _ = attach(model, where, share=share)
    held = stored(made)
    for path, own in tensors.items():
        for name, tensor in own.items():
            like = held[f"{path}.{name}"]
            if like.shape != tensor.shape:
                raise UsageError(f"{folder}: {path}.{name} is {tuple(tensor.shape)}, the model has {tuple(like.shape)}")
            held[f"{path}.{name}"] = tensor.to(like.dtype)
    return fill(made, held, next(model.parameters()).device)


def save_adapter(model: Model, names: Names, folder: str | Path, base: str | Path, task: str | None = None) -> Path:
    """Write what is attached to a model, imported by these names, as peft keeps it; what peft has no word for is
    refused.

    base   the folder of the model that it goes onto        task   what peft calls that the model is for
    """
    folder, taken = Path(folder), attachments(model)
    modules: dict[str, dict[str, Tensor]] = {}
    for part, pieces in check_kept(model, names, str(base)).items():
        modules |= _split(part, pieces, _sizes(model, part, pieces))
    if modules:
        turned = any(source.endswith(".T") for source in _bare(model, names).values())
        config = _config(taken, modules, str(base), task) | {"fan_in_fan_out": turned}
        tensors = {
            f"{PREFIX}{module}.{_theirs(name)}": tensor.detach().cpu().clone().contiguous()
            for module, own in modules.items() for name, tensor in own.items() if name != "factor"
        }  # fmt: skip
    else:
        config, tensors = peft_prompt.prompt_of(model, str(base), task)
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [path.name for path in folder.iterdir() if path.name not in (CONFIG, WEIGHTS)]
    if strangers and not is_peft(folder):
        raise UsageError(f"{folder} is not empty and holds no adapter of peft ({strangers[0]}); name another folder")
    write_whole(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_whole(folder / CONFIG, json.dumps(config, indent=2).encode())
    return folder


def _modules(source: str) -> list[str]:
    """The modules of theirs that one of our projections is made of, one below the other; none where rows alternate."""
    if source.startswith("heads "):
        return []
    return [name.removesuffix(".T").removesuffix(".weight") for name in source.split(" | ")]


def _check_matrix(part: Any, scales: bool, where: str) -> None:
    """Refuse to add to a projection that is not its matrix alone: theirs adds before, and ours behind, what follows."""
    try:
        if not scales:
            part.matrix()
    except UsageError as error:
        raise UsageError(f"{where}: {error}, so what peft adds to it means another thing") from None


def _same_channels(model: Model, where: str) -> None:
    """Refuse where rows stand in another order than theirs."""
    if any(isinstance(part, Position) and part.elsewhere is not None for part in model.parts()):
        raise UsageError(f"{where}: heads have their channels in another order than theirs; merge with peft before")


def check_kept(model: Model, names: Names, where: str) -> dict[Any, list[str]]:
    """The modules of theirs that each attachment of a model stands at; what peft has no word for is refused."""
    taken = attachments(model)
    if not taken:
        raise UsageError("nothing is attached to this model; see: blockyard adapt")
    kinds = {f"{part.spec.kind}:{part.spec.name}" for part in taken}
    if kinds == {"store:prompted"}:
        peft_prompt.prompt_of(model, where, None)
        return {}
    if len(kinds) > 1 or not kinds <= {"linear:lora", "linear:dora", "linear:ia3"}:
        had = ", ".join(sorted(kinds))
        raise UsageError(f"peft keeps one of LoRA, DoRA and IA3 in a folder, or virtual tokens, and here is {had}")
    if any(getattr(each, each.attached_to) in taken for each in taken):
        raise UsageError("of two adapters on one projection peft keeps one; merge the inner one first")
    _same_channels(model, where)
    plain, found = _bare(model, names), dict[Any, list[str]]()
    for part in taken:
        source = plain[f"{seat(part, taken)}.weight"]
        found[part] = _modules(source)
        if odd := next((piece for piece in found[part] or [source] if not PLAIN.fullmatch(piece)), None):
            raise UsageError(f"{part.path} is {odd!r} of theirs, and peft has no word for a piece of a module")
        _check_matrix(getattr(part, part.attached_to), part.spec.name == "ia3", part.path)
    return found


def _read(folder: Path) -> Adapter:
    """The adapter of a folder, checked."""
    config = read_json(folder / CONFIG)
    where = str(folder / CONFIG)
    kind = config.get("peft_type")
    if kind not in ("LORA", "IA3"):
        raise UsageError(f"{where}: peft_type={kind!r} cannot be read: LORA, IA3, PROMPT_TUNING and P_TUNING are known")
    if (began := config.get("init_lora_weights")) not in BEGAN:
        raise UsageError(f"{where}: init_lora_weights={began!r} cannot be read: it changed the model's own matrices")
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
        kind = next(iter(found.values()))["scale"].dtype
        rows = [found[m]["scale"].to(kind) if m in found else torch.ones(n, dtype=kind) for m, n in zip(modules, sizes)]
        return linear("ia3", side="writes"), {"scale": torch.cat(rows)}
    factors = {module: adapter.factor(module) for module in found}
    wide = next(iter(found.values()))["down"].shape[-1:]
    for module, own in found.items():
        if own["down"].shape != (rank := adapter.rank(module), *wide):
            raise UsageError(f"{adapter.where}: lora_A of {module} is {tuple(own['down'].shape)}, and r is {rank}")
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
        said["dropout"] = adapter.config["lora_dropout"]
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


def _config(taken: list[Part], modules: Mapping[str, Mapping[str, Any]], base: str, task: str | None) -> dict[str, Any]:
    """The adapter_config.json of these modules."""
    common = {"base_model_name_or_path": base, "task_type": task, "inference_mode": True,
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
