"""ALBERT: one layer that runs at every depth; several layers, or groups of them, are not known."""

from blockyard.core.spec import Spec, head, norm
from blockyard.interop.encoders import DROPOUT, affine, fused, headed, normed, sees_both_sides, tasks, text_head
from blockyard.interop.fields import Fields
from blockyard.interop.hf.bert import EMBEDDINGS
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    for name in ("num_hidden_groups", "inner_group_num"):
        fields.only(name, 1)
    sees_both_sides(fields)
    # the last four are of the paper's own code and read by nothing of theirs
    fields.neutral(*DROPOUT, "net_structure_type", "gap_size", "num_memory_blocks", "down_scale_factor")
    exact, act = norm("layer", eps=fields.real("layer_norm_eps", 1e-12)), fields.activation("hidden_act", "gelu_new")
    body = recipe(
        "albert",
        dim=fields.whole("hidden_size"),
        loops=fields.whole("num_hidden_layers"),
        heads=fields.whole("num_attention_heads"),
        ffn=fields.whole("intermediate_size"),
        embed=fields.whole("embedding_size", 128),
        vocab=fields.whole("vocab_size"),
        length=fields.whole("max_position_embeddings", 512),
        **{
            "stem.kinds": fields.whole("type_vocab_size", 2), "stem.norm": exact, "residual.norm": exact,
            "channel.activation": act,
        },
    )  # fmt: skip
    return headed(body, text_head(fields, head("transformed", activation=act, norm=exact)))


_MASKED = {
    **affine("head.proj", "predictions.dense"),
    **normed("head.norm", "predictions.LayerNorm"),
    "head.bias": "predictions.bias",
    "head.table": "predictions.decoder.weight",
}
_CLASSES = affine("head.proj", "classifier")
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
        "SequenceClassification": {**affine("head.transform", "albert.pooler"), **_CLASSES},
        "TokenClassification": _CLASSES,
        "QuestionAnswering": affine("head.proj", "qa_outputs"),
    },
)
