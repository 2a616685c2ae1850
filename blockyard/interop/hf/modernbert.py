"""ModernBERT: rotary positions, layers that see a window between those that see all, and no norm before the first.

The stem has one kind of token, which adds zeros. A row's classes are scored by its first token.
"""

from typing import Any

from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, pattern, position, residual, stem
from blockyard.interop.encoders import affine, normed, sees_both_sides, task, tasks
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import ABSENT, Told, act_word, slot, window

TYPES = {"full_attention": "full", "sliding_attention": "near"}
BASES = {"full_attention": ("global_rope_theta", 160000.0), "sliding_attention": ("local_rope_theta", 10000.0)}


def spec(fields: Fields) -> Spec:
    fields.neutral(
        "*dropout*", "initializer_cutoff_factor", "deterministic_flash_attn", "sparse_pred*", "embedding_size",
        "max_position_embeddings", "repad_logits_with_grad", "reference_compile", "layer_norm_eps",
    )  # fmt: skip
    sees_both_sides(fields)
    layers, biased = fields.layers("num_hidden_layers"), fields.flag("norm_bias", False)
    fine = norm("layer" if biased else "layer_gain", eps=fields.real("norm_eps", 1e-5))
    kinds, bases, wide = _kinds(fields, layers), _bases(fields), fields.whole("local_attention", 128) // 2 + 1
    heads, act = fields.whole("num_attention_heads"), fields.activation("hidden_activation", "gelu")
    inner = channel("gated", inner=fields.whole("intermediate_size"), activation=act)
    seen = {"full_attention": None, "sliding_attention": pattern("band", window=wide)}
    blocks = []
    for kind in dict.fromkeys(kinds):
        turned = position("rope", base=bases[kind])
        blocks.append(block(TYPES[kind], mixer("attention", heads=heads, position=turned, pattern=seen[kind]), inner))
    made = model(
        dim=fields.whole("hidden_size"),
        stem=stem("segmented", vocab=fields.whole("vocab_size"), kinds=1, norm=fine),
        blocks=tuple(blocks),
        residual=residual("prenorm", norm=fine),
        depth=depth("hybrid", pattern=" + ".join(TYPES[kind] for kind in kinds)),
        head=_head(fields, fine),
        causal=False,
    ).at("steps.0.rule", norm=norm("none"))
    for name, where in (("attention_bias", ("qkv", "out")), ("mlp_bias", ("up", "down"))):
        if fields.flag(name, False):
            for each in where:
                made = made.at(f"steps.*.part.{each}", bias=True)
    if not fields.flag("classifier_bias", False) and task(fields):
        made = made.at("head.proj" if task(fields) == "MaskedLM" else "head.transform", bias=False)
    return made


def _head(fields: Fields, fine: Spec) -> Spec:
    act, what = fields.activation("classifier_activation", "gelu"), task(fields)
    fields.neutral("classifier_pooling", "tie_word_embeddings", "decoder_bias")
    if what == "MaskedLM":
        fields.only("tie_word_embeddings", True)
        fields.only("decoder_bias", True)
        return head("transformed", activation=act, norm=fine, before=fine)
    if what == "SequenceClassification":
        fields.only("classifier_pooling", "cls")
        return head("transformed_classes", classes=fields.classes(), activation=act, norm=fine, before=fine)
    return head("stream", norm=fine)


def _kinds(fields: Fields, layers: int) -> list[str]:
    every, kinds = fields.whole("global_attn_every_n_layers", 3), fields.get("layer_types", None)
    if kinds is None:
        return ["sliding_attention" if i % every else "full_attention" for i in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not set(map(str, kinds)) <= set(TYPES):
        raise fields.refuse("layer_types", f"expected {layers} times {' or '.join(TYPES)}")
    return kinds


def _bases(fields: Fields) -> dict[str, float]:
    """The base of rotary positions in each type of layer."""
    given: Any = fields.get("rope_parameters", None) or {}
    if not isinstance(given, dict) or not set(given) <= set(TYPES):
        raise fields.refuse("rope_parameters", f"expected an object for {' and '.join(TYPES)}")
    found = {}
    for kind, (old, usual) in BASES.items():
        base, said = fields.real(old, usual), given.get(kind, {})
        plain = isinstance(said, dict) and not said.keys() - {"rope_theta", "rope_type"}
        if not plain or said.get("rope_type", "default") != "default":
            raise fields.refuse("rope_parameters", "only plain rotary positions are known here")
        base = said.get("rope_theta", base)
        if type(base) not in (int, float) or not base > 0:
            raise fields.refuse("rope_parameters", f"rope_theta of {kind} is not a number above zero")
        found[kind] = float(base)
    return found


_LAYER = (
    {
        **affine("part.qkv", "attn.Wqkv"),
        **affine("part.out", "attn.Wo"),
        **normed("rule.norm", "attn_norm"),
    },
    {
        **affine("part.up", "mlp.Wi"),
        **affine("part.down", "mlp.Wo"),
        **normed("rule.norm", "mlp_norm"),
    },
)
NAMES = tasks(
    "ModernBert",
    Names(
        base="model.",
        layer="layers.{}.",
        ends={
            "stem.table": "model.embeddings.tok_embeddings.weight",
            "stem.kind": "model.embeddings.norm.weight.zeros",
            **normed("stem.norm", "model.embeddings.norm"),
        },
        blocks={"full": _LAYER, "near": _LAYER},
    ),
    {
        "": normed("head.norm", "model.final_norm"),
        "MaskedLM": {
            **normed("head.before", "model.final_norm"),
            **affine("head.proj", "head.dense"),
            **normed("head.norm", "head.norm"),
            "head.bias": "decoder.bias",
            "head.table": "decoder.weight",
        },
        "SequenceClassification": {
            **normed("head.before", "model.final_norm"),
            **affine("head.transform", "head.dense"),
            **normed("head.norm", "head.norm"),
            **affine("head.proj", "classifier"),
        },
    },
)


def _types(told: Told) -> list[str]:
    return ["full_attention" if slot(each, "pattern") is None else "sliding_attention" for each in told.attentions()]


def _near(told: Told) -> Any:
    """Twice as many tokens as a layer sees on each side; at least one."""
    found = window(told)
    return ABSENT if found is None else max(1, 2 * (found - 1))


def _ropes(told: Told) -> Any:
    turned = {kind: slot(each, "position") for kind, each in zip(_types(told), told.attentions())}
    found = {kind: resolved(each, "base") for kind, each in turned.items() if each is not None}
    return {kind: {"rope_type": "default", "rope_theta": found.get(kind, usual)} for kind, (_, usual) in BASES.items()}


def _dense_bias(told: Told) -> bool:
    """Of the matrix that the head transforms by, whatever ours calls it."""
    classes = "head.transform.weight" in told.learned
    return f"head.{'transform' if classes else 'proj'}.bias" in told.learned


WORDS = {
    "layer_types": _types, "local_attention": _near, "rope_parameters": _ropes,
    "norm_bias": lambda told: "stem.norm.bias" in told.learned,
    "classifier_activation": lambda told: act_word(slot(told.model.head, "activation")),
    "classifier_bias": _dense_bias,
    "classifier_pooling": lambda told: "cls",
}  # fmt: skip
