"""What the maps of encoders share: tables of names in pairs, and the head that a class of theirs puts on a body.

The class stands in `architectures`: BertModel, BertForMaskedLM and so on have one body and other heads.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from blockyard.core.spec import Spec, activation, head, norm
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.systems import spec as system_of

DROPOUT = ("*dropout*",)


def sees_both_sides(fields: Fields) -> None:
    """Refuse what would make an encoder read from left to right, or know places otherwise."""
    fields.only("is_decoder", False)
    fields.only("is_causal", False)
    fields.only("position_embedding_type", "absolute")


def affine(ours: str, theirs: str) -> dict[str, str]:
    """A projection with its bias."""
    return {f"{ours}.{end}": f"{theirs}.{end}" for end in ("weight", "bias")}


def normed(ours: str, theirs: str) -> dict[str, str]:
    """A norm with gain and bias."""
    return {f"{ours}.gain": f"{theirs}.weight", f"{ours}.bias": f"{theirs}.bias"}


def fused(ours: str, *theirs: str) -> dict[str, str]:
    """Projections whose rows stand in one of ours."""
    return {f"{ours}.{end}": " | ".join(f"{name}.{end}" for name in theirs) for end in ("weight", "bias")}


def bert_body(
    fields: Fields, exact: Spec, act: Spec, own: Mapping[str, Any] | None = None, recipe: str = "bert"
) -> Spec:
    """The body that configs in BERT's words say.

    exact, act   its norms and the activation of its channels        own   what a family says otherwise, or besides
    """
    said = {
        "dim": fields.whole("hidden_size"),
        "heads": fields.whole("num_attention_heads"),
        "ffn": fields.whole("intermediate_size"),
        "vocab": fields.whole("vocab_size"),
        "stem.kinds": fields.whole("type_vocab_size", 2),
        "stem.norm": exact, "residual.norm": exact, "channel.activation": act,
    }  # fmt: skip
    own = own or {}
    if "length" not in own:
        said["length"] = fields.whole("max_position_embeddings", 512)
    if "loops" not in own:
        said["layers"] = fields.layers("num_hidden_layers")
    return system_of(recipe, **{**said, **own})


def layer_norm(fields: Fields) -> Spec:
    """The norm of an encoder, with the setting that says its eps."""
    return norm("layer", eps=fields.real("layer_norm_eps", 1e-12))


# of each token a class, or whether an answer begins or ends there
TOKENS = {
    "TokenClassification": affine("head.proj", "classifier"),
    "QuestionAnswering": affine("head.proj", "qa_outputs"),
}


def task(fields: Fields) -> str:
    """What the class is for: MaskedLM, SequenceClassification and so on; empty: the body alone."""
    return fields.made.partition("For")[2]


def tasks(name: str, body: Names, heads: Mapping[str, Mapping[str, str]]) -> dict[str, Names]:
    """The names of each class: those of the body and of the head of each task."""
    return {
        f"{name}For{task}" if task else f"{name}Model": replace(body, ends={**body.ends, **ends})
        for task, ends in heads.items()
    }


def text_head(fields: Fields, masked: Spec, pooled: Spec | None = None) -> Spec:
    """The head of a class of text encoders.

    masked   that of masked tokens        pooled   the activation between the two matrices on the first token
    """
    what = task(fields)
    if what in ("MaskedLM", "PreTraining"):
        fields.only("tie_word_embeddings", True)
        return masked
    fields.neutral("tie_word_embeddings")
    if what == "SequenceClassification":
        return head("transformed_classes", classes=fields.classes(), activation=pooled or activation("tanh"))
    if what == "TokenClassification":
        return head("token_classes", classes=fields.classes(), norm=None)
    if what == "QuestionAnswering":
        if fields.classes() != 2:
            raise fields.refuse("id2label", "an answer has a first token and a last one")
        return head("start_end", norm=None)
    return head("stream", norm=None)


def headed(system: Spec, said: Spec) -> Spec:
    """The model of a system with another head."""
    return system["model"].but(head=said)
