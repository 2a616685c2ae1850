"""Granite with experts, and beside them a channel that every token uses."""

from blockyard.core.spec import Spec, channel
from blockyard.interop.experts import OPEN, STACKED, attention, experts, gated, granite, moved, per_head, scores
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, IGNORED
from blockyard.interop.names import Names
from blockyard.interop.words import ABSENT, Told


def spec(fields: Fields) -> Spec:
    layers = fields.layers("num_hidden_layers")
    mixes = attention(fields, fields.rope(per_head(fields), 2048), weigh=scores(fields))
    each = experts(fields, fields.whole("intermediate_size"), fields.whole("num_local_experts", 8))
    wide = fields.get("shared_intermediate_size", 0)  # none at 0
    kind, channels = "alone", each
    if wide != 0:
        shared = gated(fields, fields.whole("shared_intermediate_size"))
        kind, channels = "shared", channel("and_shared", routed=each, shared=shared)
    bias = ("qkv", "out") if fields.flag("attention_bias", False) else ()
    return granite(fields, [kind] * layers, {kind: (mixes, channels)}, bias)


ARCHITECTURE = "GraniteMoeSharedForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={
        "alone": (BEFORE[0] | ATTENTION, BEFORE[1] | STACKED),
        "shared": (BEFORE[0] | ATTENTION, BEFORE[1] | moved(STACKED, "part.routed") | OPEN),
    },
    ignored=IGNORED,
)


def _beside(told: Told) -> int:
    """The inner channels of what stands beside experts; none at 0."""
    found = told.wide("shared")
    return 0 if found is ABSENT else found


WORDS = {"shared_intermediate_size": _beside}
