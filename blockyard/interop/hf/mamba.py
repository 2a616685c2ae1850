"""Mamba: one sublayer a layer, under the same names as the authors' own code."""

from blockyard.core.spec import Spec, mixer, norm
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    dim = fields.whole("hidden_size")
    inner = int(fields.real("expand", 2) * dim)
    for name, value in (("intermediate_size", inner), ("d_inner", inner), ("d_model", dim)):
        fields.only(name, value)
    fields.only("use_bias", False)
    fields.only("hidden_act", "silu")
    fields.only("rms_norm", True)
    layers = fields.layers("num_hidden_layers")
    fields.only("n_layer", layers)
    fields.neutral(
        "time_step_scale", "time_step_min", "time_step_max", "time_step_floor", "time_step_init_scheme",
        "residual_in_fp32", "fused_add_norm", "use_mambapy", "use_associative_scan",
        "pad_vocab_size_multiple",
    )  # fmt: skip
    rank = fields.get("time_step_rank", "auto")
    rms = norm("rms", eps=fields.real("layer_norm_epsilon", 1e-5))
    conv = mixer("short_conv", width=fields.whole("conv_kernel", 4), bias=fields.flag("use_conv_bias", True))
    return recipe(
        "mamba",
        dim=dim,
        inner=inner,
        vocab=fields.whole("vocab_size"),
        **{
            "depth.layers": layers,  # the recipe counts two sublayers as one
            "mixer.state": fields.whole("state_size", 16),
            "mixer.rank": -(-dim // 16) if rank == "auto" else fields.whole("time_step_rank"),
            "mixer.conv": conv,
            "residual.norm": rms,
            "head.norm": rms,
            "head.tied": fields.flag("tie_word_embeddings", True),
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
                "part.x_proj.weight": "mixer.x_proj.weight",
                "part.dt_proj": "mixer.dt_proj.weight",
                "part.dt_bias": "mixer.dt_proj.bias",
                "part.A_log": "mixer.A_log",
                "part.D": "mixer.D",
                "part.out.weight": "mixer.out_proj.weight",
            },
        ),
    },
)
