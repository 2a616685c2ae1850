"""A folder for transformers: of the model's own family where it has one, otherwise of a class that blockyard brings."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.files import new_folder
from blockyard.interop.counterpart import Counterpart, counterpart, main_kind
from blockyard.interop.own import OWN, of_own
from blockyard.interop.weights import INDEX, SINGLE
from blockyard.model.model import Model

BESIDE = (  # files that transformers reads, which leave as they are
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    "added_tokens.json", "chat_template.jinja", "generation_config.json",
)  # fmt: skip
ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")
SHARD_BYTES = 5 << 30


def write(model: Model, out: Path, kept: Mapping[str, bytes], name: str | None) -> dict[str, Any]:
    found, why = _of(model, name)
    config = {**_ends(kept), **found.config, "dtype": main_kind(model)}
    config |= {"model_type": found.model_type, "architectures": [found.architecture]}
    new_folder(out, _files(config, found.tensors, kept))
    told = {"model_type": found.model_type}
    return told if why is None else told | {"why": why}


def _of(model: Model, name: str | None) -> tuple[Counterpart, str | None]:
    """The family that is written, and why it is none of theirs."""
    if name == OWN:
        return of_own(model), None
    try:
        return counterpart(model, name), None
    except UsageError as error:
        if name is not None:
            raise
        why = str(error)
    try:
        return of_own(model), why
    except UsageError as error:
        raise UsageError(f"{why}; and {error}") from None


def _files(config: Mapping[str, Any], tensors: Mapping[str, Tensor], kept: Mapping[str, bytes]) -> Iterator[Any]:
    yield "config.json", _json(config)
    shards = list(_shards(tensors.items()))
    places = {}
    for number, shard in enumerate(shards, 1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        places |= dict.fromkeys(shard, file)
        yield file, save({name: x.cpu().contiguous() for name, x in shard.items()}, {"format": "pt"})
    if len(shards) > 1:
        size = sum(x.numel() * x.element_size() for x in tensors.values())
        yield INDEX, _json({"metadata": {"total_size": size}, "weight_map": places})
    beside = {file: kept[file] for file in BESIDE if file in kept}
    if "tokenizer.json" in beside and "tokenizer_config.json" not in beside:
        beside["tokenizer_config.json"] = _json({"tokenizer_class": "PreTrainedTokenizerFast"})
    yield from beside.items()


def _shards(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    room = SHARD_BYTES
    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if shard and size > room:
            yield shard
            shard, room = {}, SHARD_BYTES
        shard[name] = tensor
        room -= size
    yield shard


def _ends(kept: Mapping[str, bytes]) -> dict[str, Any]:
    """The ids that begin, end and fill texts: what generation has, or none. Left out they would be a family's own."""
    try:
        said = json.loads(kept.get("generation_config.json", b"{}"))
    except ValueError:
        said = {}
    return {name: said.get(name) if isinstance(said, dict) else None for name in ENDS}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()
