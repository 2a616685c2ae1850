"""xLSTM: matrix memories in every layer, with caps on gates and on the scores."""

from typing import Any

from blockyard.core.spec import Spec, activation, channel, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import decoder
from blockyard.interop.names import Names
from blockyard.interop.words import ABSENT, Told
from blockyard.interop.words import WORDS as WORDS_OF_ALL


def spec(fields: Fields) -> Spec:
    dim, layers, heads = fields.whole("hidden_size", 4096), _layers(fields), fields.whole("num_heads", 8)
    fields.only("embedding_dim", dim, None)
    fields.only("use_bias", False)
    fields.only("add_out_norm", True)
    fields.only("weight_mode", "single")
    fields.only("inference_state_dtype", "float32")
    fields.neutral(
        "norm_reduction_force_float32", "chunkwise_kernel", "sequence_kernel", "step_kernel", "mode", "chunk_size",
        "return_last_states", "autocast_kernel_dtype", "max_inference_chunksize",
        "tie_word_embeddings",  # their class ties nothing, whatever stands here
    )  # fmt: skip
    eps = fields.real("norm_eps", 1e-6)
    rms = norm("rms", eps=eps)
    memory = mixer(
        "mlstm",
        heads=heads,
        key_dim=_per_head(fields, "qk_dim_factor", 0.5, heads),
        value_dim=_per_head(fields, "v_dim_factor", 1.0, heads),
        cap=fields.cap("gate_soft_cap", 15.0),
        eps=fields.real("eps", 1e-6),
        norm=norm("group_gain", eps=eps),
    )
    multiple = fields.whole("ffn_round_up_to_multiple_of", 64)
    inner = int((dim * fields.positive("ffn_proj_factor", 2.667) + multiple - 1) // multiple * multiple)
    cap = fields.cap("output_logit_soft_cap", 30.0)
    return decoder(
        fields,
        ["layer"] * layers,
        {"layer": (memory, channel("gated", inner=inner))},
        residual("prenorm", norm=rms),
        norm=rms,
        tied=False,
        activation=None if cap is None else activation("softcap", cap=cap),
    )


def _layers(fields: Fields) -> int:
    """num_hidden_layers, or num_blocks where that is the only one; one that says another number is refused."""
    if fields.get("num_hidden_layers", None) is None:
        return fields.layers("num_blocks")
    layers = fields.layers("num_hidden_layers")
    fields.only("num_blocks", layers, None)
    return layers


def _per_head(fields: Fields, name: str, usual: float, heads: int) -> int:
    """The channels of a head, of a share of the width."""
    wide = int(fields.whole("hidden_size", 4096) * fields.positive(name, usual))
    if wide < 1 or wide % heads:
        raise fields.refuse(name, f"{wide} channels are not divided by num_heads={heads}")
    return wide // heads


def _share(told: Told, channels: Any) -> Any:
    """So many channels as a share of the width that comes to them when it is multiplied and cut."""
    if channels is ABSENT:
        return ABSENT
    dim = told.model.axes["stream"].size
    return channels / dim if int(channels / dim * dim) == channels else (channels + 0.5) / dim


WORDS = {
    "num_heads": lambda told: told.axis("mixer:mlstm", "heads"),
    "qk_dim_factor": lambda told: _share(told, told.product("mixer:mlstm", "heads", "key_dim")),
    "v_dim_factor": lambda told: _share(told, told.product("mixer:mlstm", "heads", "value_dim")),
    "eps": lambda told: told.setting("mixer:mlstm", "eps"),
    "gate_soft_cap": lambda told: told.setting("mixer:mlstm", "cap"),
    "output_logit_soft_cap": WORDS_OF_ALL["final_logit_softcapping"],
    "ffn_proj_factor": lambda told: _share(told, told.axis("channel:gated", "inner")),
    "ffn_round_up_to_multiple_of": lambda told: 1,
}
ARCHITECTURE = "xLSTMForCausalLM"
_MEMORY = "mlstm_layer."
NAMES = Names(
    base="backbone.",
    layer="blocks.{}.",
    ends={
        "stem.table": "backbone.embeddings.weight",
        "head.norm.gain": "backbone.out_norm.weight",
        "head.table": "lm_head.weight",
    },
    blocks={
        "layer": (
            {
                "rule.norm.gain": "norm_mlstm.weight",
                "part.proj.weight": " | ".join(f"{_MEMORY}{name}.weight" for name in ("q", "k", "v", "ogate_preact")),
                "part.gate_in.weight": f"{_MEMORY}igate_preact.weight | {_MEMORY}fgate_preact.weight",
                "part.write_bias": f"{_MEMORY}igate_preact.bias",
                "part.keep_bias": f"{_MEMORY}fgate_preact.bias",
                "part.norm.gain": f"{_MEMORY}multihead_norm.weight",
                "part.out.weight": f"{_MEMORY}out_proj.weight",
            },
            {
                "rule.norm.gain": "norm_ffn.weight",
                "part.up.weight": "ffn.proj_up_gate.weight | ffn.proj_up.weight",
                "part.down.weight": "ffn.proj_down.weight",
            },
        ),
    },
)
