"""StarCoder 2: layer norms and biases, channels without a gate, and perhaps a window."""

from blockyard.core.spec import Spec, channel, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, IGNORED, decoder, head_width
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings", "activation_function")  # the class reads hidden_act
    fields.only("mlp_type", "default")
    fields.only("norm_type", "layer_norm")
    heads = fields.whole("num_attention_heads")
    head_dim = head_width(fields, heads)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads, 2), head_dim=head_dim,
        position=fields.rope(head_dim, 4096), pattern=fields.window(),
    )  # fmt: skip
    act = fields.activation("hidden_act", "gelu_pytorch_tanh")
    channels = channel("mlp", inner=fields.whole("intermediate_size"), activation=act)
    layer = norm("layer", eps=fields.real("norm_epsilon", 1e-5))
    return decoder(
        fields, ["layer"] * fields.layers("num_hidden_layers"), {"layer": (attention, channels)},
        residual("prenorm", norm=layer), norm=layer, tied=fields.flag("tie_word_embeddings", True),
        biased=("qkv", "out", "up", "down") if fields.flag("use_bias", True) else (),
    )  # fmt: skip


LAYER = (
    {**BEFORE[0], **ATTENTION},
    {
        **BEFORE[1],
        "part.up.weight": "mlp.c_fc.weight",
        "part.up.bias": "mlp.c_fc.bias",
        "part.down.weight": "mlp.c_proj.weight",
        "part.down.bias": "mlp.c_proj.bias",
    },
)
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
