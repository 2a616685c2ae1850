"""RoBERTa: BERT whose positions count from one behind the padding id; what pads is said by the batch, not by its id."""

from typing import Any

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
from blockyard.interop.words import ABSENT, Told

POSITIONS = "roberta.embeddings.position_embeddings.weight"


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    fields.neutral(*DROPOUT)
    pad, rows = fields.get("pad_token_id", 1), fields.whole("max_position_embeddings", 512)
    if type(pad) is not int or not 0 <= pad < rows - 1:
        raise fields.refuse("pad_token_id", "the positions begin behind it")
    fields.cut[POSITIONS] = pad + 1
    exact = layer_norm(fields)
    body = bert_body(fields, exact, fields.activation("hidden_act", "gelu"), {"length": rows - pad - 1})
    return headed(body, text_head(fields, head("transformed", activation=activation("gelu_exact"), norm=exact)))


NAMES = tasks(
    "Roberta",
    Names(
        base="roberta.",
        layer="encoder.layer.{}.",
        ends={path: f"roberta.{name}" for path, name in EMBEDDINGS.items()},
        blocks={"layer": LAYER},
        renamed=OLD,
        ignored=("*.position_ids",),
        copies={"lm_head.decoder.bias": "lm_head.bias"},
        unread=("roberta.pooler.*",),
    ),
    {
        "": {},
        "MaskedLM": {
            **affine("head.proj", "lm_head.dense"),
            **normed("head.norm", "lm_head.layer_norm"),
            "head.bias": "lm_head.bias",
            "head.table": "lm_head.decoder.weight",
        },
        "SequenceClassification": {
            **affine("head.transform", "classifier.dense"),
            **affine("head.proj", "classifier.out_proj"),
        },
        **TOKENS,
    },
)


def _rows(told: Told) -> Any:
    """Rows of the table of positions, with those up to the padding id, which stand before the first."""
    found = told.size("stem.position.length")
    return ABSENT if found is ABSENT else found + PAD + 1


PAD = 1
WORDS = {"max_position_embeddings": _rows, "pad_token_id": lambda told: PAD}
