"""ELECTRA: the layers of BERT behind a table that may be narrower; the head that finds replaced tokens is not known."""

from blockyard.core.spec import Spec, activation, head
from blockyard.interop.encoders import (
    DROPOUT,
    TOKENS,
    affine,
    bert_body,
    headed,
    layer_norm,
    normed,
    sees_both_sides,
    tasks,
    text_head,
)
from blockyard.interop.fields import Fields
from blockyard.interop.hf.bert import EMBEDDINGS, LAYER, OLD
from blockyard.interop.names import Names
from blockyard.interop.words import embedded


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    fields.neutral(*DROPOUT, "summary_*")
    dim, exact = fields.whole("hidden_size"), layer_norm(fields)
    embed, gelu = fields.whole("embedding_size", 128), activation("gelu_exact")
    own = {"stem.dim": None if embed == dim else embed}
    body = bert_body(fields, exact, fields.activation("hidden_act", "gelu"), own)
    return headed(body, text_head(fields, head("transformed", activation=gelu, norm=exact), gelu))


NAMES = tasks(
    "Electra",
    Names(
        base="electra.",
        layer="encoder.layer.{}.",
        ends={
            **{path: f"electra.{name}" for path, name in EMBEDDINGS.items()},
            **affine("stem.widen", "electra.embeddings_project"),
        },
        blocks={"layer": LAYER},
        renamed=OLD,
        ignored=("*.position_ids",),
    ),
    {
        "": {},
        "MaskedLM": {
            **affine("head.proj", "generator_predictions.dense"),
            **normed("head.norm", "generator_predictions.LayerNorm"),
            "head.bias": "generator_lm_head.bias",
            "head.table": "generator_lm_head.weight",
        },
        "SequenceClassification": {
            **affine("head.transform", "classifier.dense"),
            **affine("head.proj", "classifier.out_proj"),
        },
        **TOKENS,
    },
)


WORDS = {"embedding_size": embedded}
