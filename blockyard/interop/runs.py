"""What llama.cpp computes of a family of transformers, as data, and the settings that it reads for one model.

A family says which of its words are which settings, which values llama.cpp computes whatever a file says, and how its
tensors are kept there. What llama.cpp would compute otherwise is refused by its name: a setting that it does not read
would change the model and say nothing.

Source   https://github.com/ggml-org/llama.cpp (settings, shapes and order of tensors; its `gguf` library has the names)
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blockyard.core.errors import UsageError, brief

Config = Mapping[str, Any]
UNSAID = 2048  # tokens of the longest text, for a file that must say some
FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True)
class Runs:
    """What llama.cpp runs of a family.

    arch      the architecture's name there
    keys      a setting of it -> the word of config.json that it is, or what follows from all words
    fixed     settings that are always the same      only     a word -> the values of it that are computed at all
    near      a word -> values of it that are computed nearly, with what is done in their place
    turns     the kinds of rotary positions that are read; () none at all
    squared   heads times their width are the width  whole    the table of the head stands in the file though it is tied
    changes   the end of a tensor's name -> how it is kept
    renamed   the end of a tensor's name -> how the names of `gguf` know it
    refuses   what no word says alone: why a config cannot be computed, or None
    """

    arch: str
    keys: Mapping[str, str | Callable[[Config], Any]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    near: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    turns: tuple[str, ...] = ("default", "linear", "yarn")
    squared: bool = False
    whole: bool = False
    changes: Mapping[str, Callable[[Tensor, Config], Tensor]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    refuses: Callable[[Config], str | None] = lambda config: None


Keys = dict[str, str | Callable[[Config], Any]]
BODY: Keys = {  # of every architecture
    "embedding_length": "hidden_size", "block_count": "num_hidden_layers", "vocab_size": "vocab_size",
}  # fmt: skip
DECODER: Keys = BODY | {
    "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
}  # fmt: skip
RMS: Keys = {"attention.layer_norm_rms_epsilon": "rms_norm_eps"}
SILU = {"hidden_act": ("silu",)}
NO_BIAS = {"attention_bias": (False,), "mlp_bias": (False,)}
NO_WINDOW = {"sliding_window": (None,)}
TANH = ("gelu_new", "gelu_pytorch_tanh")
# settings that are real numbers, whole as they may be said
REAL = ("epsilon", "freq_base", "freq_base_swa", "factor", "scale", "softcapping")
NEARLY = {"gelu": "GELU by tanh in the place of the exact one"}


def refuse_others(runs: Runs, config: Config) -> list[str]:
    """UsageError for what is not computed there; what is computed nearly, in words."""
    for word, values in runs.only.items():
        near = runs.near.get(word, {})
        if word in config and config[word] not in values and config[word] not in near:
            known = " or ".join(map(str, values))
            raise UsageError(f"llama.cpp: {runs.arch} computes {word}={known}, not {brief(str(config[word]))}")
    if runs.squared and (wide := config.get("head_dim")) is not None:
        heads, width = config["num_attention_heads"], config["hidden_size"]
        if heads * wide != width:
            raise UsageError(f"llama.cpp: {runs.arch} knows no {heads} heads of {wide} channels in a width of {width}")
    if (why := runs.refuses(config)) is not None:
        raise UsageError(f"llama.cpp: {runs.arch} {why}")
    near = [said[config[word]] for word, said in runs.near.items() if config.get(word) in said]
    if scheme(config)[0].get("rope_type") == "longrope":
        near.append("positions have their factors for long texts by the length of the context, not of each text")
    return near


def settings(runs: Runs, config: Config) -> dict[str, Any]:
    """Every setting of the architecture, by its whole name; UsageError for rotary positions that it does not read."""
    said = dict(runs.fixed)
    for key, word in runs.keys.items():
        value = config.get(word) if isinstance(word, str) else word(config)
        if value is not None:
            said[key] = value
    said |= _turning(runs, config)
    said.setdefault("context_length", config.get("max_position_embeddings", UNSAID))
    real = {key: float(value) for key, value in said.items() if key.rpartition(".")[2].endswith(REAL)}
    return {f"{runs.arch}.{key}": value for key, value in (said | real).items()}


def scheme(config: Config) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Rotary positions of layers that read the whole text, and of those with a window where they have their own."""
    said = config.get("rope_parameters") or {}
    if FULL in said or SLIDING in said:
        return said[FULL], said[SLIDING]
    return said, None


def _turning(runs: Runs, config: Config) -> dict[str, Any]:
    if not runs.turns:
        return {}
    far, near = scheme(config)
    kind = far.get("rope_type", "default")
    if far.get("rope_theta") is None:
        raise UsageError(f"llama.cpp: {runs.arch} turns queries and keys by their positions, and this model does not")
    if kind not in runs.turns:
        raise UsageError(f"llama.cpp: {runs.arch} reads no rotary positions of the type {kind}")
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    said: dict[str, Any] = {
        "rope.freq_base": far["rope_theta"],
        "rope.dimension_count": int(width * far.get("partial_rotary_factor", 1.0)),
    }
    if near is not None:
        if near.get("rope_type", "default") != "default":
            raise UsageError(f"llama.cpp: {runs.arch} stretches no positions of layers with a window")
        said["rope.freq_base_swa"] = near["rope_theta"]
    return said | _SCHEMES.get(kind, lambda far: {})(far)


def _linear(far: Config) -> dict[str, Any]:
    return {"rope.scaling.type": "linear", "rope.scaling.factor": far["factor"]}


def _yarn(far: Config) -> dict[str, Any]:
    if (far.get("beta_fast", 32.0), far.get("beta_slow", 1.0)) != (32.0, 1.0):
        raise UsageError("llama.cpp: yarn is read with beta_fast=32 and beta_slow=1 alone")
    factor, trained = far["factor"], far["original_max_position_embeddings"]
    usual = 1 + 0.1 * math.log(factor)  # what queries and keys grow by there
    return {
        "rope.scaling.type": "yarn", "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": trained,
        "rope.scaling.attn_factor": far.get("attention_factor", usual) / usual,
        "context_length": int(trained * factor),
    }  # fmt: skip


def _longrope(far: Config) -> dict[str, Any]:
    trained = far["original_max_position_embeddings"]
    return {
        "rope.scaling.type": "longrope", "rope.scaling.original_context_length": trained,
        "rope.scaling.attn_factor": far.get("attention_factor", 1.0),
    }  # fmt: skip


_SCHEMES: dict[str, Callable[[Config], dict[str, Any]]] = {"linear": _linear, "yarn": _yarn, "longrope": _longrope}


def divides(config: Config, largest: int) -> str | None:
    """Why llama.cpp divides scores of a Gemma otherwise, where it does; the `largest` is told by its layers."""
    wide = config["hidden_size"] // config["num_attention_heads"]
    asked = wide if config["num_hidden_layers"] == largest else config["head_dim"]
    if config["query_pre_attn_scalar"] == asked:
        return None
    return f"divides scores by the root of {asked}, and this model by that of {config['query_pre_attn_scalar']}"


def factors(config: Config) -> dict[str, Tensor]:
    """Tensors of what the waves of rotary positions are divided by, (K/2,) each, by their names there."""
    far, _ = scheme(config)
    if far.get("rope_type") == "longrope":
        return {f"rope_factors_{name}.weight": torch.tensor(far[f"{name}_factor"]) for name in ("long", "short")}
    if far.get("rope_type") != "llama3":
        return {}
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    base, factor, trained = far["rope_theta"], far["factor"], far["original_max_position_embeddings"]
    waves = 2 * math.pi * base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    slow, fast = far["low_freq_factor"], far["high_freq_factor"]
    kept = ((trained / waves - slow) / (fast - slow)).clamp(0, 1)
    return {"rope_freqs.weight": 1 / (kept + (1 - kept) / factor)}


def paired(heads: str) -> Callable[[Tensor, Config], Tensor]:
    """Channels of a head that turn together, (i, i + K/2) of ours, beside each other: rows (2i, 2i + 1)."""

    def change(x: Tensor, config: Config) -> Tensor:
        return x.unflatten(0, (config[heads], 2, -1)).transpose(1, 2).flatten(0, 2)

    return change


def turned(x: Tensor, config: Config) -> Tensor:
    """(reads, writes) as (writes, reads)."""
    return x.T


def one_more(x: Tensor, config: Config) -> Tensor:
    """A gain that is kept from one as the gain."""
    return x + 1


def decay(x: Tensor, config: Config) -> Tensor:
    """A = -exp(A_log)"""
    return -x.exp()


def column(x: Tensor, config: Config) -> Tensor:
    """(N,) as (N,1)"""
    return x[:, None]


def filters(x: Tensor, config: Config) -> Tensor:
    """(C,1,W) of a depthwise filter as (C,W)."""
    return x[:, 0]


PAIRED = {f"q_proj.{end}": paired("num_attention_heads") for end in ("weight", "bias")} | {
    f"k_proj.{end}": paired("num_key_value_heads") for end in ("weight", "bias")
}
