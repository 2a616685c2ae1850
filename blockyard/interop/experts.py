"""What maps of model types with experts or with recurrent layers share, beside `layout.py`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from blockyard.core.spec import Spec, channel, mixer, norm, residual, router, weigh
from blockyard.interop.fields import Fields
from blockyard.interop.layout import decoder

EXPERTS = {
    "part.router.weight": "mlp.gate.weight",
    "part.experts.*.up.weight": "mlp.experts.{}.gate_proj.weight | mlp.experts.{}.up_proj.weight",
    "part.experts.*.down.weight": "mlp.experts.{}.down_proj.weight",
}
SHARED = {
    "part.gate_in.weight": "mlp.shared_expert_gate.weight",
    "part.shared.up.weight": "mlp.shared_expert.gate_proj.weight | mlp.shared_expert.up_proj.weight",
    "part.shared.down.weight": "mlp.shared_expert.down_proj.weight",
}
STACKED = {  # all experts of a layer in one tensor
    "part.router.weight": "block_sparse_moe.router.layer.weight",
    "part.experts.*.up.weight": "block_sparse_moe.input_linear.weight[{}]",
    "part.experts.*.down.weight": "block_sparse_moe.output_linear.weight[{}]",
}
OPEN = {  # beside them a channel of two matrices that every token uses
    "part.shared.up.weight": "shared_mlp.input_linear.weight",
    "part.shared.down.weight": "shared_mlp.output_linear.weight",
}
MAMBA = {
    "part.proj.weight": "mamba.in_proj.weight",
    "part.proj.bias": "mamba.in_proj.bias",
    "part.conv.weight": "mamba.conv1d.weight.depthwise",
    "part.conv.bias": "mamba.conv1d.bias",
    "part.dt_bias": "mamba.dt_bias",
    "part.A_log": "mamba.A_log",
    "part.D": "mamba.D",
    "part.norm.gain": "mamba.norm.weight",
    "part.out.weight": "mamba.out_proj.weight",
    "part.out.bias": "mamba.out_proj.bias",
}


def moved(names: Mapping[str, str], path: str, old: str = "", new: str = "") -> dict[str, str]:
    """The names of a step whose part stands at another path, and under another name of theirs."""
    return {ours.replace("part", path, 1): theirs.replace(old, new) for ours, theirs in names.items()}


def rms_of(fields: Fields, name: str = "rms_norm_eps", default: float = 1e-6) -> Spec:
    """A norm by the root mean square, with the setting that says its eps."""
    return norm("rms", eps=fields.real(name, default))


def attention(
    fields: Fields, position: Spec | None, head_dim: int | None = None, kv: int | None = None, **more: Any
) -> Spec:
    """Attention whose heads config.json says as most do; `kv` heads of keys and values where it does not."""
    heads = fields.whole("num_attention_heads")
    given = dict(heads=heads, kv_heads=fields.groups(heads, kv), head_dim=head_dim, position=position)
    return mixer("attention", **given, **more)


def per_head(fields: Fields) -> int:
    """The channels of a head where they are the width divided by the heads."""
    dim, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    if dim % heads:
        raise fields.refuse("num_attention_heads", f"it does not divide hidden_size={dim}")
    return dim // heads


def count(fields: Fields, name: str, other: str) -> int:
    """How many experts there are, by either of two names; where both are said they say the same."""
    both = [fields.whole(each, None) for each in (name, other)]
    if None not in both and both[0] != both[1]:
        raise fields.refuse(other, f"{name}={both[0]} says another number")
    found = both[0] or both[1]
    return fields.whole(name) if found is None else found


def scheme(fields: Fields, usual: bool) -> str:
    """The router: whether the experts of a token share one, or count by their shares of all."""
    return "top_softmax" if fields.flag("norm_topk_prob", usual) else "top"


def experts(fields: Fields, inner: int, many: int, by: str = "top_softmax", top: int = 2) -> Spec:
    """Gated experts; a token goes to `num_experts_per_tok`, to `top` where that is not said."""
    top = fields.whole("num_experts_per_tok", top)
    if top > many:
        raise fields.refuse("num_experts_per_tok", f"there are {many} experts")
    fields.neutral("output_router_logits", "router_aux_loss_coef")
    return channel("experts", experts=many, expert=gated(fields, inner), router=router(by, top=top))


def gated(fields: Fields, inner: int) -> Spec:
    """A gated channel of so many inner channels, by the activation that the config names."""
    return channel("gated", inner=inner, activation=fields.activation("hidden_act", "silu"))


def few(fields: Fields, layers: int) -> list[bool]:
    """Which layers have one channel in the place of experts.

    A layer has experts where its number, counted from 1, is a multiple of decoder_sparse_step, unless it is listed.
    """
    step, dense = fields.whole("decoder_sparse_step", 1), places(fields, "mlp_only_layers")
    return [number in dense or (number + 1) % step > 0 for number in range(layers)]


def places(fields: Fields, name: str) -> list[int]:
    """Numbers of layers; none where there are none."""
    found = fields.get(name, None)
    found = [] if found is None else found
    if not isinstance(found, list) or any(type(place) is not int for place in found):
        raise fields.refuse(name, "expected numbers of layers")
    return found


def scores(fields: Fields) -> Spec:
    """How Granite weighs scores: by a factor of its own."""
    return weigh("softmax", scale=fields.positive("attention_multiplier", 1.0))


def granite(
    fields: Fields, kinds: Sequence[str], blocks: Mapping[str, tuple[Spec, ...]], biases: Sequence[str] = ()
) -> Spec:
    """A decoder with the fixed factors of Granite on embeddings, sublayers and logits."""
    fields.neutral("max_position_embeddings")
    rms = rms_of(fields)
    rule = residual("multiplied", factor=fields.real("residual_multiplier", 1.0), norm=rms)
    tied, scale = fields.flag("tie_word_embeddings", False), fields.positive("embedding_multiplier", 1.0)
    divided = fields.positive("logits_scaling", 1.0)
    return decoder(fields, kinds, blocks, rule, norm=rms, tied=tied, biased=biases, scale=scale, head_scale=1 / divided)


def mamba2(fields: Fields, inner: int, eps: float, **more: Any) -> Spec:
    """Mamba-2 as hybrids say it, with `mamba_` before its settings."""
    heads, groups = fields.whole("mamba_n_heads", 128), fields.whole("mamba_n_groups", 1)
    if inner % heads or heads % groups:
        raise fields.refuse("mamba_n_heads", f"{inner} channels, {heads} heads, {groups} groups")
    if fields.get("mamba_d_head", "auto") != "auto" and fields.whole("mamba_d_head") != inner // heads:
        raise fields.refuse("mamba_d_head", f"{inner} channels over {heads} heads are {inner // heads}")
    if fields.get("time_step_limit", [0.0, math.inf]) != [0.0, math.inf]:
        raise fields.refuse("time_step_limit", "only [0.0, Infinity] is known here")
    fields.only("hidden_act", "silu")
    fields.neutral("mamba_chunk_size")
    conv = mixer("short_conv", width=fields.whole("mamba_d_conv", 4), bias=fields.flag("mamba_conv_bias", True))
    rms = norm("rms" if groups == 1 else "group_rms", eps=eps)
    given = dict(inner=inner, head_dim=inner // heads, groups=groups, state=fields.whole("mamba_d_state", 256))
    return mixer("mamba2", **{**given, "conv": conv, "norm": rms, **more})


def biased(system: Spec, kinds: Sequence[str], mixers: Mapping[str, Sequence[str]]) -> Spec:
    """With biases of these projections of the mixers of a kind of layer."""
    for number, kind in enumerate(kinds):
        for name in mixers.get(kind, ()):
            system = system.at(f"steps.{2 * number}.part.{name}", bias=True)
    return system
