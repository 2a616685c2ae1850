"""Falcon Mamba: Mamba whose steps and vectors are normalised, without gains."""

from blockyard.core.spec import Spec, mixer, norm
from blockyard.interop.fields import Fields
from blockyard.interop.hf.mamba import NAMES as NAMES
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    dim = fields.whole("hidden_size")
    fields.only("use_bias", False)
    fields.only("hidden_act", "silu")
    fields.neutral(
        "time_step_scale", "time_step_min", "time_step_max", "time_step_floor", "time_step_init_scheme",
        "residual_in_fp32", "use_mambapy", "use_falcon_mambapy", "use_associative_scan",
    )  # fmt: skip
    wide = int(fields.real("expand", 2) * dim)  # a file may say another width beside it, which then holds
    rank = fields.get("time_step_rank", "auto")
    rms = norm("rms", eps=fields.real("layer_norm_epsilon", 1e-5))
    conv = mixer("short_conv", width=fields.whole("conv_kernel", 4), bias=fields.flag("use_conv_bias", True))
    return recipe(
        "mamba",
        dim=dim,
        inner=fields.whole("intermediate_size", wide),
        vocab=fields.whole("vocab_size"),
        **{
            "depth.layers": fields.layers("num_hidden_layers"),  # the recipe counts two sublayers as one
            "mixer.state": fields.whole("state_size", 16),
            "mixer.rank": None if rank == "auto" else fields.whole("time_step_rank"),
            "mixer.conv": conv,
            "mixer.norm": norm("unit_rms", eps=fields.real("mixer_rms_eps", 1e-6)),
            "residual.norm": rms,
            "head.norm": rms,
            "head.tied": fields.flag("tie_word_embeddings", True),
        },
    )


ARCHITECTURE = "FalconMambaForCausalLM"
