"""Granite with experts: Llama's layers with fixed factors on embeddings, scores, sublayers and logits."""

from blockyard.core.spec import Spec
from blockyard.interop.experts import STACKED, attention, experts, granite, per_head, scores
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, IGNORED
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    layers = fields.layers("num_hidden_layers")
    mixes = attention(fields, fields.rope(per_head(fields), 2048), weigh=scores(fields))
    each = experts(fields, fields.whole("intermediate_size"), fields.whole("num_local_experts", 8))
    bias = ("qkv", "out") if fields.flag("attention_bias", False) else ()
    return granite(fields, ["layer"] * layers, {"layer": (mixes, each)}, bias)


ARCHITECTURE = "GraniteMoeForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={"layer": (BEFORE[0] | ATTENTION, BEFORE[1] | STACKED)},
    ignored=IGNORED,
)
