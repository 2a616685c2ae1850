"""BERT: its body, with the head of masked tokens, of a row's classes, of each token's, or of an answer's ends.

Positions are those of the tokens that count: a row is padded on its right. What pools the first token is read by the
head of a row's classes alone, and the head of the next sentence by none.
"""

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
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    fields.neutral(*DROPOUT, "directionality", "pooler_*")
    exact, act = layer_norm(fields), fields.activation("hidden_act", "gelu")
    body = bert_body(fields, exact, act)
    return headed(body, text_head(fields, head("transformed", activation=act, norm=exact)))


EMBEDDINGS = {
    "stem.table": "embeddings.word_embeddings.weight",
    "stem.kind": "embeddings.token_type_embeddings.weight",
    "stem.position.table": "embeddings.position_embeddings.weight",
    **normed("stem.norm", "embeddings.LayerNorm"),
}
LAYER = (
    {
        **fused("part.qkv", *(f"attention.self.{name}" for name in ("query", "key", "value"))),
        **affine("part.out", "attention.output.dense"),
        **normed("rule.norm", "attention.output.LayerNorm"),
    },
    {
        **affine("part.up", "intermediate.dense"),
        **affine("part.down", "output.dense"),
        **normed("rule.norm", "output.LayerNorm"),
    },
)
OLD = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_MASKED = {
    **affine("head.proj", "cls.predictions.transform.dense"),
    **normed("head.norm", "cls.predictions.transform.LayerNorm"),
    "head.bias": "cls.predictions.bias",
    "head.table": "cls.predictions.decoder.weight",
}
NAMES = tasks(
    "Bert",
    Names(
        base="bert.",
        layer="encoder.layer.{}.",
        ends={path: f"bert.{name}" for path, name in EMBEDDINGS.items()},
        blocks={"layer": LAYER},
        renamed=OLD,
        ignored=("*.position_ids",),
        copies={"cls.predictions.decoder.bias": "cls.predictions.bias"},
        unread=("bert.pooler.*", "cls.seq_relationship.*"),
    ),
    {
        "": {},
        "MaskedLM": _MASKED,
        "PreTraining": _MASKED,
        "SequenceClassification": {
            **affine("head.transform", "bert.pooler.dense"),
            **affine("head.proj", "classifier"),
        },
        **TOKENS,
    },
)
