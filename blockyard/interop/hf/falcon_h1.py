"""Falcon-H1: attention and Mamba-2 side by side in every layer, with fixed factors on what each projection says."""

from collections.abc import Callable
from typing import Any

from blockyard.core.spec import Spec, linear, mixer, norm, residual
from blockyard.interop.experts import MAMBA, attention, gated, mamba2, moved, per_head, rms_of
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, ENDS, GATED, IGNORED, decoder
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import ABSENT, Told, slot, undone


def spec(fields: Fields) -> Spec:
    for name in ("attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias"):
        fields.only(name, False)
    fields.neutral("max_position_embeddings", "num_logits_to_keep")
    dim, layers, rms = fields.whole("hidden_size"), fields.layers("num_hidden_layers"), rms_of(fields, default=1e-5)
    wide = fields.whole("mamba_expand", 2) * dim
    if fields.config.get("mamba_d_ssm", 0) is not None:  # null: as many as that
        wide = fields.whole("mamba_d_ssm", 1024)
    fields.neutral("mamba_d_ssm")
    both = mixer(
        "side_by_side",
        first=attention(fields, fields.rope(per_head(fields), 8192), kv=8),
        second=mamba2(fields, wide, rms["eps"], **_norms(fields, rms["eps"])),
    )
    system = decoder(
        fields,
        ["layer"] * layers,
        {"layer": (both, gated(fields, fields.whole("intermediate_size")))},
        residual("prenorm", norm=rms),
        norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        scale=fields.positive("embedding_multiplier", 1.0),
        head_scale=fields.positive("lm_head_multiplier", 1.0),
    )
    for path, factors in _factors(fields).items():
        system = system.at(f"steps.*.part.{path}", spec=linear("scaled", factors=factors))
    return system


def _norms(fields: Fields, eps: float) -> dict[str, Spec]:
    """The norms of Mamba-2: none, or one of each group, before the gate or behind it."""
    groups = fields.whole("mamba_n_groups", 1)
    rms, none = norm("rms" if groups == 1 else "group_rms", eps=eps), norm("none")
    before = fields.flag("mamba_norm_before_gate", True)
    if not fields.flag("mamba_rms_norm", False):
        return {"norm": none}
    return {"norm": none, "before": rms} if before else {"norm": rms}


def _factors(fields: Fields) -> dict[str, tuple[float, ...]]:
    """What each projection says counts so much; what stands before one without a bias counts with it."""
    one = {
        name: fields.real(f"{name}_multiplier", 1.0)
        for name in ("attention_in", "attention_out", "key", "ssm_in", "ssm_out")
    }
    ssm, (gate, down) = _several(fields, "ssm_multipliers", 5), _several(fields, "mlp_multipliers", 2)
    read = one["attention_in"]
    return {
        "first.qkv": (read, read * one["key"], read),
        "first.out": (one["attention_out"],),
        "second.proj": tuple(one["ssm_in"] * each for each in ssm),
        "second.out": (one["ssm_out"],),
        "up": (gate, 1.0),
        "down": (down,),
    }


def _several(fields: Fields, name: str, many: int) -> list[float]:
    found: Any = fields.get(name, None)
    found = [1.0] * many if found is None else found
    if not isinstance(found, list) or len(found) != many or any(type(each) not in (int, float) for each in found):
        raise fields.refuse(name, f"expected {many} numbers")
    return found


ARCHITECTURE = "FalconH1ForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS | {"head.norm.gain": "model.final_layernorm.weight"},
    blocks={
        "layer": (
            {"rule.norm.gain": "input_layernorm.weight"}
            | moved(ATTENTION, "part.first")
            | moved(MAMBA, "part.second")
            | {"part.second.before.gain": "mamba.norm.weight"},
            {"rule.norm.gain": "pre_ff_layernorm.weight"} | moved(GATED, "part", "mlp.", "feed_forward."),
        ),
    },
    ignored=IGNORED,
)


def _said(told: Told, path: str) -> list[float]:
    """The fixed factors of a projection of the first layer; none where it has none."""
    found = dict(told.model.named_modules()).get(f"steps.{path}")
    return [*getattr(found, "factors", ())]


def _one(path: str) -> Callable[[Told], Any]:
    return lambda told: next(iter(_said(told, path)), ABSENT)


def _key(told: Told) -> Any:
    """What keys count beside what all that attention reads counts."""
    read, key, *_ = [*_said(told, "0.part.first.qkv"), 0.0, 0.0]
    return undone(lambda x: read * x, key, lambda key: key / read) if read else ABSENT


def _several_of(path: str, many: int) -> Callable[[Told], Any]:
    return lambda told: _said(told, path)[:many] or ABSENT


def _normed(told: Told) -> bool:
    mamba = told.first.get("mixer:mamba2")
    return any(getattr(slot(mamba, name), "spec", NONE).name != "none" for name in ("before", "norm"))


NONE = norm("none")
WORDS: dict[str, Callable[[Told], Any]] = {
    "mamba_expand": lambda told: 2,  # mamba_d_ssm says it
    "mamba_rms_norm": _normed,
    "mamba_norm_before_gate": lambda told: getattr(slot(told.first.get("mixer:mamba2"), "norm"), "spec", NONE) == NONE,
    "lm_head_multiplier": lambda told: resolved(told.model.head, "scale"),
    "attention_in_multiplier": _one("0.part.first.qkv"),
    "key_multiplier": _key,
    "attention_out_multiplier": _one("0.part.first.out"),
    "ssm_in_multiplier": lambda told: 1.0,  # what it would say stands in the five
    "ssm_multipliers": _several_of("0.part.second.proj", 5),
    "ssm_out_multiplier": _one("0.part.second.out"),
    "mlp_multipliers": lambda told: [*_said(told, "1.part.up")[:1], *_said(told, "1.part.down")] or ABSENT,
}
