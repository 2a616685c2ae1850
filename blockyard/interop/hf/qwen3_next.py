"""Qwen3-Next: gated delta layers, attention with gated outputs in every fourth, experts beside a shared channel."""

from blockyard.core.spec import Spec, channel, mixer, norm, residual
from blockyard.interop.experts import (
    EXPERTS,
    SHARED,
    attention,
    biased,
    count,
    experts,
    few,
    gated,
    moved,
    scheme,
)
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, GATED, HEAD_NORMS, IGNORED, decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    layers = fields.layers("num_hidden_layers")
    rms = norm("rms_unit_offset", eps=fields.real("rms_norm_eps", 1e-6))
    position = fields.rope(fields.whole("head_dim", 256), 32768, share=0.25)
    mixers = {
        "linear_attention": _delta(fields),
        "full_attention": attention(fields, position, fields.whole("head_dim", 256), 2, norm=rms, gate="sigmoid"),
    }
    many = experts(
        fields,
        fields.whole("moe_intermediate_size", 512),
        count(fields, "num_experts", "num_local_experts"),
        scheme(fields, True),
        10,
    )
    shared = gated(fields, fields.whole("shared_expert_intermediate_size", 512))
    channels = {
        "experts": channel("and_shared", routed=many, shared=shared, gate="sigmoid"),
        "dense": gated(fields, fields.whole("intermediate_size")),
    }
    every = fields.whole("full_attention_interval", 4)
    types = fields.kinds(
        layers, list(mixers), lambda n: "full_attention" if (n + 1) % every == 0 else "linear_attention"
    )
    kinds = [f"{kind}_{'dense' if alone else 'experts'}" for kind, alone in zip(types, few(fields, layers))]
    blocks = {kind: (mixers[kind.rpartition("_")[0]], channels[kind.rpartition("_")[2]]) for kind in kinds}
    tied = fields.flag("tie_word_embeddings", False)
    system = decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied)
    bias = ("qkv", "gate_in", "out") if fields.flag("attention_bias", False) else ()
    return biased(system, types, {"full_attention": bias})


def _delta(fields: Fields) -> Spec:
    fields.only("hidden_act", "silu")
    heads, keys = fields.whole("linear_num_value_heads", 32), fields.whole("linear_num_key_heads", 16)
    if heads % keys:
        raise fields.refuse("linear_num_key_heads", f"it does not divide linear_num_value_heads={heads}")
    return mixer(
        "gated_deltanet",
        heads=heads,
        key_heads=keys,
        key_dim=fields.whole("linear_key_head_dim", 128),
        value_dim=fields.whole("linear_value_head_dim", 128),
        conv=mixer("short_conv", width=fields.whole("linear_conv_kernel_dim", 4)),
        norm=norm("rms", eps=fields.real("rms_norm_eps", 1e-6)),
    )


_MIXERS = {
    "linear_attention": {
        # head of keys by head of keys: its query, key, values and their gates; in the other, rates and decays
        "part.proj.weight": "heads 0 1 2 3, 5 4 of linear_attn.in_proj_qkvz.weight | linear_attn.in_proj_ba.weight",
        "part.conv.weight": "linear_attn.conv1d.weight.depthwise",
        "part.A_log": "linear_attn.A_log",
        "part.dt_bias": "linear_attn.dt_bias",
        "part.norm.gain": "linear_attn.norm.weight",
        "part.out.weight": "linear_attn.out_proj.weight",
    },
    # head by head a query and its gate
    "full_attention": {
        path: source.replace("q_proj.weight", "q_proj.weight 0/2").replace("q_proj.bias", "q_proj.bias 0/2")
        for path, source in (ATTENTION | HEAD_NORMS).items()
    }
    | {
        "part.gate_in.weight": "self_attn.q_proj.weight 1/2",
        "part.gate_in.bias": "self_attn.q_proj.bias 1/2",
    },
}
_CHANNELS = {"experts": moved(EXPERTS, "part.routed") | SHARED, "dense": GATED}
ARCHITECTURE = "Qwen3NextForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={
        f"{mixes}_{channels}": (BEFORE[0] | _MIXERS[mixes], BEFORE[1] | _CHANNELS[channels])
        for mixes in _MIXERS
        for channels in _CHANNELS
    },
    ignored=IGNORED,
)
