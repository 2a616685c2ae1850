"""ELECTRA: the layers of BERT behind a table that may be narrower; the head that finds replaced tokens is not known."""

from blockyard.core.spec import Spec, activation, head, norm
from blockyard.interop.encoders import DROPOUT, affine, headed, normed, sees_both_sides, tasks, text_head
from blockyard.interop.fields import Fields
from blockyard.interop.hf.bert import EMBEDDINGS, LAYER, OLD
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    fields.neutral(*DROPOUT, "summary_*")
    dim, exact = fields.whole("hidden_size"), norm("layer", eps=fields.real("layer_norm_eps", 1e-12))
    embed, gelu = fields.whole("embedding_size", 128), activation("gelu_exact")
    body = recipe(
        "bert",
        dim=dim,
        layers=fields.layers("num_hidden_layers"),
        heads=fields.whole("num_attention_heads"),
        ffn=fields.whole("intermediate_size"),
        vocab=fields.whole("vocab_size"),
        length=fields.whole("max_position_embeddings", 512),
        **{
            "stem.kinds": fields.whole("type_vocab_size", 2), "stem.dim": None if embed == dim else embed,
            "stem.norm": exact, "residual.norm": exact, "channel.activation": fields.activation("hidden_act", "gelu"),
        },
    )  # fmt: skip
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
        "TokenClassification": affine("head.proj", "classifier"),
        "QuestionAnswering": affine("head.proj", "qa_outputs"),
    },
)
