"""What maps of several model types share: layers of several kinds, and steps under the names that most files use."""

from collections.abc import Mapping

from typing import Any

from blockyard.core.spec import Spec, block, channel, depth, head, mixer, model, norm, residual, router, stem, system
from blockyard.interop.fields import Fields

ENDS = {
    "stem.table": "model.embed_tokens.weight",
    "head.norm.gain": "model.norm.weight",
    "head.table": "lm_head.weight",
}
GATED = {
    "part.up.weight": "mlp.gate_proj.weight | mlp.up_proj.weight",
    "part.down.weight": "mlp.down_proj.weight",
}
ATTENTION = {
    "part.qkv.weight": "self_attn.q_proj.weight | self_attn.k_proj.weight | self_attn.v_proj.weight",
    "part.out.weight": "self_attn.o_proj.weight",
}
HEAD_NORMS = {"part.q_norm.gain": "self_attn.q_norm.weight", "part.k_norm.gain": "self_attn.k_norm.weight"}
ALL_NORMS = {"part.q_all.gain": "self_attn.q_norm.weight", "part.k_all.gain": "self_attn.k_norm.weight"}
EXPERTS = {
    "part.router.weight": "mlp.gate.weight",
    "part.experts.*.up.weight": "mlp.experts.{}.gate_proj.weight | mlp.experts.{}.up_proj.weight",
    "part.experts.*.down.weight": "mlp.experts.{}.down_proj.weight",
}
MAMBA2 = {
    "part.proj.weight": "mamba.in_proj.weight",
    "part.conv.weight": "mamba.conv1d.weight",
    "part.conv.bias": "mamba.conv1d.bias",
    "part.dt_bias": "mamba.dt_bias",
    "part.A_log": "mamba.A_log",
    "part.D": "mamba.D",
    "part.norm.gain": "mamba.norm.weight",
    "part.out.weight": "mamba.out_proj.weight",
}


def moved(names: Mapping[str, str], paths: str = "part", sources: tuple[str, str] = ("", "")) -> dict[str, str]:
    """The same step where its part stands at another path, or under another name of theirs (the old one, the new)."""
    old, new = sources
    return {path.replace("part", paths, 1): source.replace(old, new) for path, source in names.items()}


def after(name: str, names: Mapping[str, str]) -> dict[str, str]:
    """The names of a step and of the norm before it."""
    return {"rule.norm.gain": f"{name}.weight", **names}


def kinds(fields: Fields, name: str, layers: int, known: Mapping[str, str], usual: list[str]) -> list[str]:
    """What each layer is, by the names of our blocks."""
    found = fields.get(name, None)
    found = usual if found is None else found
    if not isinstance(found, list) or len(found) != layers or not set(map(str, found)) <= set(known):
        raise fields.refuse(name, f"expected {layers} times {' or '.join(known)}")
    return [known[kind] for kind in found]


def places(fields: Fields, name: str) -> list[int]:
    """Numbers of layers; none where there are none."""
    found = fields.get(name, None) or []
    if not isinstance(found, list) or any(type(place) is not int for place in found):
        raise fields.refuse(name, "expected numbers of layers")
    return found


def pattern(names: list[str]) -> str:
    """The shortest period of these blocks, as depth:hybrid reads it."""
    period = next(n for n in range(1, len(names) + 1) if all(name == names[i % n] for i, name in enumerate(names)))
    runs: list[tuple[str, int]] = []
    for name in names[:period]:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return " + ".join(name if count == 1 else f"{count}*{name}" for name, count in runs)


def rms(fields: Fields, name: str = "rms_norm_eps", default: float = 1e-6) -> Spec:
    return norm("rms", eps=fields.real(name, default))


def attention(fields: Fields, dim: int, position: Spec | None, head_dim: int | None = None, **more: Any) -> Spec:
    """Attention whose heads config.json says as most do."""
    heads = fields.whole("num_attention_heads")
    shared = fields.whole("num_key_value_heads", None) or heads
    return mixer("attention", heads=heads, kv_heads=shared, head_dim=head_dim, position=position, **more)


def per_head(fields: Fields, dim: int) -> int:
    """The channels of a head that are the width divided by the heads."""
    heads = fields.whole("num_attention_heads")
    if dim % heads:
        raise fields.refuse("num_attention_heads", f"it does not divide hidden_size={dim}")
    return dim // heads


def count(fields: Fields, name: str, other: str) -> int:
    """How many there are, by either of two names; where both are said they say the same."""
    both = [fields.whole(each, None) for each in (name, other)]
    if None not in both and both[0] != both[1]:
        raise fields.refuse(other, f"{name}={both[0]} says another number")
    found = both[0] or both[1]
    return fields.whole(name) if found is None else found


def scheme(fields: Fields, usual: bool) -> str:
    """The router: whether the experts of a token share one, or count by their shares of all."""
    return "top_softmax" if fields.flag("norm_topk_prob", usual) else "top"


def experts(fields: Fields, inner: int, count: int, scheme: str = "top_softmax", top: int = 2) -> Spec:
    """Gated experts as most say them; a token goes to `num_experts_per_tok`, or to `top` where nothing is said."""
    each = channel("gated", inner=inner, activation=fields.activation("hidden_act", "silu"))
    top = fields.whole("num_experts_per_tok", top)
    if top > count:
        raise fields.refuse("num_experts_per_tok", f"there are {count} experts")
    fields.neutral("output_router_logits", "router_aux_loss_coef")
    return channel("experts", experts=count, expert=each, router=router(scheme, top=top))


def sparse(
    fields: Fields, mixers: Mapping[str, Spec], laid: list[str], many: Spec
) -> tuple[tuple[Spec, ...], list[str]]:  # fmt: skip
    """The blocks of these mixers with `many` experts, or with one channel, and the name of each layer's.

    A layer has experts where its number, counted from 1, is a multiple of decoder_sparse_step, unless it is listed.
    """
    step, dense = fields.whole("decoder_sparse_step", 1), places(fields, "mlp_only_layers")
    alone = channel(
        "gated", inner=fields.whole("intermediate_size"), activation=fields.activation("hidden_act", "silu")
    )
    names, made = [], {}
    for number, name in enumerate(laid):
        few = number in dense or (number + 1) % step
        names.append(f"{name}_{'dense' if few else 'sparse'}")
        made[names[-1]] = block(names[-1], mixers[name], alone if few else many)
    return tuple(made.values()), names


def decoder(
    fields: Fields, dim: int, blocks: tuple[Spec, ...], laid: list[str] | None, rms: Spec, rule: Spec | None = None,
    scale: float = 1.0, divided: float = 1.0, tied: bool = False,
) -> Spec:  # fmt: skip
    """A decoder of these blocks.

    laid      the name of each layer's block; None: all layers are alike
    rule      the residual rule; None: pre-norm
    scale     factor on what tokens are looked up as
    divided   what scores are divided by
    tied      whether the head reads the table where config.json does not say so
    """
    fields.neutral("max_position_embeddings", "attention_dropout")
    layers = fields.layers("num_hidden_layers")
    program = depth("stack", layers=layers) if laid is None else depth("hybrid", pattern=pattern(laid), layers=layers)
    return system(model(
        dim=dim,
        stem=stem("tokens", vocab=fields.whole("vocab_size"), **({} if scale == 1 else {"scale": scale})),
        blocks=blocks,
        residual=rule or residual("prenorm", norm=rms),
        depth=program,
        head=head("lm", tied=fields.flag("tie_word_embeddings", tied), norm=rms, scale=1 / divided),
    ))  # fmt: skip


def rope(
    fields: Fields, head_dim: int, length: int, *, base: float = 10000.0, share: float | None = None
) -> Spec | None:  # fmt: skip
    from blockyard.core.spec import position

    found = fields.rope_base()
    return None if found is None else position("rope", base=found)
