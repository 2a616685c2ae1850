"""ALBERT: one layer that runs at every depth; several layers, or groups of them, are not known."""

from blockyard.core.spec import Spec, head
from blockyard.interop.encoders import (
    DROPOUT,
    TOKENS,
    affine,
    bert_body,
    fused,
    headed,
    layer_norm,
    normed,
    sees_both_sides,
    tasks,
    text_head,
)
from blockyard.interop.fields import Fields
from blockyard.interop.hf.bert import EMBEDDINGS
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import embedded


def spec(fields: Fields) -> Spec:
    for name in ("num_hidden_groups", "inner_group_num"):
        fields.only(name, 1)
    sees_both_sides(fields)
    # the last four are of the paper's own code and read by nothing of theirs
    fields.neutral(*DROPOUT, "net_structure_type", "gap_size", "num_memory_blocks", "down_scale_factor")
    exact, act = layer_norm(fields), fields.activation("hidden_act", "gelu_new")
    own = {"loops": fields.whole("num_hidden_layers"), "embed": fields.whole("embedding_size", 128)}
    body = bert_body(fields, exact, act, own, "albert")
    return headed(body, text_head(fields, head("transformed", activation=act, norm=exact)))


_MASKED = {
    **affine("head.proj", "predictions.dense"),
    **normed("head.norm", "predictions.LayerNorm"),
    "head.bias": "predictions.bias",
    "head.table": "predictions.decoder.weight",
}
NAMES = tasks(
    "Albert",
    Names(
        base="albert.",
        layer="encoder.albert_layer_groups.0.albert_layers.{}.",
        ends={
            **{path: f"albert.{name}" for path, name in EMBEDDINGS.items()},
            **affine("stem.widen", "albert.encoder.embedding_hidden_mapping_in"),
        },
        blocks={
            "layer": (
                {
                    **fused("part.qkv", *(f"attention.{name}" for name in ("query", "key", "value"))),
                    **affine("part.out", "attention.dense"),
                    **normed("rule.norm", "attention.LayerNorm"),
                },
                {
                    **affine("part.up", "ffn"),
                    **affine("part.down", "ffn_output"),
                    **normed("rule.norm", "full_layer_layer_norm"),
                },
            ),
        },
        ignored=("*.position_ids",),
        copies={"predictions.decoder.bias": "predictions.bias"},
        unread=("albert.pooler.*", "sop_classifier.*"),
    ),
    {
        "": {},
        "MaskedLM": _MASKED,
        "PreTraining": _MASKED,
        "SequenceClassification": {**affine("head.transform", "albert.pooler"), **affine("head.proj", "classifier")},
        **TOKENS,
    },
)


WORDS = {"num_hidden_layers": lambda told: resolved(told.model.depth, "loops"), "embedding_size": embedded}
