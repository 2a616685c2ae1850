"""DistilBERT: BERT with fewer layers and without kinds of sentences, for which ours has one that adds zeros."""

from blockyard.core.spec import Spec, activation, head, norm
from blockyard.interop.encoders import DROPOUT, affine, fused, headed, normed, sees_both_sides, tasks, text_head
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.words import WORDS as ALL
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    # sines are numbers that the table of positions holds at first
    fields.neutral(*DROPOUT, "sinusoidal_pos_embds", "tie_weights_", "output_past")
    exact, act = norm("layer", eps=1e-12), fields.activation("activation", "gelu")
    body = recipe(
        "bert",
        dim=fields.whole("dim", 768),
        layers=fields.layers("n_layers"),
        heads=fields.whole("n_heads", 12),
        ffn=fields.whole("hidden_dim", 3072),
        vocab=fields.whole("vocab_size"),
        length=fields.whole("max_position_embeddings", 512),
        **{"stem.kinds": 1, "channel.activation": act},
    )
    return headed(body, text_head(fields, head("transformed", activation=act, norm=exact), activation("relu")))


NAMES = tasks(
    "DistilBert",
    Names(
        base="distilbert.",
        layer="transformer.layer.{}.",
        ends={
            "stem.table": "distilbert.embeddings.word_embeddings.weight",
            "stem.kind": "distilbert.embeddings.LayerNorm.weight.zeros",
            "stem.position.table": "distilbert.embeddings.position_embeddings.weight",
            **normed("stem.norm", "distilbert.embeddings.LayerNorm"),
        },
        blocks={
            "layer": (
                {
                    **fused("part.qkv", *(f"attention.{name}_lin" for name in "qkv")),
                    **affine("part.out", "attention.out_lin"),
                    **normed("rule.norm", "sa_layer_norm"),
                },
                {
                    **affine("part.up", "ffn.lin1"),
                    **affine("part.down", "ffn.lin2"),
                    **normed("rule.norm", "output_layer_norm"),
                },
            ),
        },
        ignored=("*.position_ids",),
    ),
    {
        "": {},
        "MaskedLM": {
            **affine("head.proj", "vocab_transform"),
            **normed("head.norm", "vocab_layer_norm"),
            "head.bias": "vocab_projector.bias",
            "head.table": "vocab_projector.weight",
        },
        "SequenceClassification": {
            **affine("head.transform", "pre_classifier"),
            **affine("head.proj", "classifier"),
        },
        "TokenClassification": affine("head.proj", "classifier"),
        "QuestionAnswering": affine("head.proj", "qa_outputs"),
    },
)


OTHERS = {"dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads"}
OTHERS |= {"hidden_dim": "intermediate_size", "activation": "hidden_act"}
WORDS = {theirs: ALL[usual] for theirs, usual in OTHERS.items()}
