"""Mamba-2: the projections are fused on both sides, in the same order."""

from blockyard.core.spec import Spec, mixer, norm
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    dim, head_dim = fields.whole("hidden_size"), fields.whole("head_dim")
    inner = int(fields.real("expand", 2) * dim)
    fields.only("intermediate_size", inner)
    fields.only("num_heads", inner // head_dim)
    fields.only("use_bias", False)
    fields.only("hidden_act", "silu")
    fields.only("rms_norm", True)
    fields.only("norm_before_gate", False)
    fields.only("time_step_limit", [0.0, float("inf")])
    fields.neutral(
        "time_step_rank", "time_step_min", "time_step_max", "time_step_floor", "chunk_size",
        "residual_in_fp32",
    )  # fmt: skip
    groups, eps = fields.whole("n_groups", 8), fields.real("layer_norm_epsilon", 1e-5)
    conv = mixer("short_conv", width=fields.whole("conv_kernel", 4), bias=fields.flag("use_conv_bias", True))
    return recipe(
        "mamba2",
        dim=dim,
        head_dim=head_dim,
        state=fields.whole("state_size", 128),
        vocab=fields.whole("vocab_size"),
        **{
            "depth.layers": fields.layers("num_hidden_layers"),  # the recipe counts two sublayers as one
            "mixer.inner": inner,
            "mixer.groups": groups,
            "mixer.conv": conv,
            # the gated output is normalised group by group
            "mixer.norm": norm("group_rms", eps=eps),
            "residual.norm": norm("rms", eps=eps),
            "head.norm": norm("rms", eps=eps),
            "head.tied": fields.flag("tie_word_embeddings", False),
        },
    )


NAMES = Names(
    base="backbone.",
    layer="layers.{}.",
    ends={
        "stem.table": "backbone.embeddings.weight",
        "head.norm.gain": "backbone.norm_f.weight",
        "head.table": "lm_head.weight",
    },
    blocks={
        "layer": (
            {
                "rule.norm.gain": "norm.weight",
                "part.proj.weight": "mixer.in_proj.weight",
                "part.conv.weight": "mixer.conv1d.weight.depthwise",
                "part.conv.bias": "mixer.conv1d.bias",
                "part.dt_bias": "mixer.dt_bias",
                "part.A_log": "mixer.A_log",
                "part.D": "mixer.D",
                "part.norm.gain": "mixer.norm.weight",
                "part.out.weight": "mixer.out_proj.weight",
            },
        ),
    },
)
