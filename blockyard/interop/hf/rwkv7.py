"""RWKV-7, as flash-linear-attention writes it; transformers alone has no class for it."""

from blockyard.core.spec import Spec, activation, channel, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    dim, head_dim = fields.whole("hidden_size", 2048), fields.whole("head_dim", 64)
    layers = fields.layers("num_hidden_layers")
    if dim % head_dim:
        raise fields.refuse("head_dim", f"it does not divide hidden_size={dim}")
    heads, eps = dim // head_dim, fields.positive("norm_eps", 1e-5)
    fields.only("num_heads", heads, None)
    fields.only("value_dim", [dim] * layers, dim, None)
    fields.only("attn", None)
    fields.only("norm_first", True)
    fields.only("norm_bias", True)
    fields.only("hidden_act", "sqrelu", "relu2")
    fields.neutral(
        "attn_mode", "max_position_embeddings", "fuse_cross_entropy", "fuse_linear_cross_entropy", "use_l2warp",
        "auto_map",
    )  # fmt: skip
    inner = fields.whole("intermediate_size", None)
    ratio = fields.positive("hidden_ratio", 4)
    layer = norm("layer", eps=eps)
    own = mixer(
        "rwkv7",
        heads=heads,
        decay_rank=fields.whole("decay_low_rank_dim", 64),
        rate_rank=fields.whole("a_low_rank_dim", 64),
        gate_rank=fields.whole("gate_low_rank_dim", 128),
        norm=norm("group", groups=None, eps=head_dim * eps),
        # their fused norm adds 1e-6 under the root, the other keeps a length above 1e-12
        unit=norm("l2", eps=1e-6 if fields.flag("fuse_norm", True) else 1e-24),
    )
    widened = channel("mlp", inner=inner or 32 * -(-int(dim * ratio) // 32), activation=activation("squared_relu"))
    after = mixer("before_channel", mixer=mixer("token_shift"), channel=widened, norm=None)
    made = decoder(
        fields,
        ["layer"] * layers,
        {"layer": (own, after)},
        residual("value_gated", rank=fields.whole("v_low_rank_dim", 16), norm=layer),
        norm=layer,
        tied=fields.flag("tie_word_embeddings", False),
    )
    return made.override("stem.norm", layer)


def _affine(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.gain": f"{theirs}.weight", f"{ours}.bias": f"{theirs}.bias"}


def _thin(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}.down": f"{theirs}.lora.0.weight",
        f"{ours}.up": f"{theirs}.lora.2.weight",
        f"{ours}.bias": f"{theirs}.lora.2.bias",
    }


NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends={
        "stem.table": "model.embeddings.weight",
        **_affine("stem.norm", "model.layers.0.pre_norm"),
        **_affine("head.norm", "model.norm"),
        "head.table": "lm_head.weight",
    },
    blocks={
        "layer": (
            {
                **_affine("rule.norm", "attn_norm"),
                **_thin("rule.gate", "attn.v_lora"),
                "part.shares": "attn.x_r | attn.x_w | attn.x_k | attn.x_v | attn.x_a | attn.x_g",
                "part.q.weight": "attn.r_proj.weight",
                "part.k.weight": "attn.k_proj.weight",
                "part.v.weight": "attn.v_proj.weight",
                "part.decay_in.weight": "attn.w_lora.lora.0.weight",
                "part.decay_out.weight": "attn.w_lora.lora.2.weight",
                "part.decay_bias": "attn.w_lora.lora.2.bias",
                **_thin("part.rate", "attn.a_lora"),
                "part.gate_in.weight": "attn.g_lora.lora.0.weight",
                "part.gate_out.weight": "attn.g_lora.lora.2.weight",
                "part.erase": "attn.k_k",
                "part.write": "attn.k_a",
                "part.bonus": "attn.r_k flat",
                **_affine("part.norm", "attn.g_norm"),
                "part.out.weight": "attn.o_proj.weight",
            },
            {
                **_affine("rule.norm", "ffn_norm"),
                "part.mixer.share": "ffn.x_k",
                "part.channel.up.weight": "ffn.key.weight",
                "part.channel.down.weight": "ffn.value.weight",
            },
        ),
    },
)
