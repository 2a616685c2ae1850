"""Random small configurations of model types with recurrent layers or with experts, as in `drawn.py`."""

from tests.interop.drawn import eps, flag, partly, rotary, sizes, window


def chosen(draw, most=4):
    """How many experts there are, and how many of them a token goes to."""
    many = draw.randint(1, most)
    return many, draw.randint(1, many)


def routed(draw, name="num_experts"):
    many, top = chosen(draw)
    return {name: many, "num_experts_per_tok": top}


def sparse(draw, layers):
    """Experts of Qwen, which some layers have not."""
    some = draw.choice([{}, dict(decoder_sparse_step=2), dict(mlp_only_layers=[draw.randint(0, layers - 1)])])
    return routed(draw) | dict(moe_intermediate_size=draw.randint(5, 12), norm_topk_prob=flag(draw)) | some


def kinds(draw, layers, *names):
    """The last of these at least once: their caches hold no texts of recurrent layers alone."""
    found = [draw.choice(names) for _ in range(layers)]
    found[draw.randrange(layers)] = names[-1]
    return found


def of_mamba2(draw, wide):
    """Mamba-2 in so many channels, as hybrids say it."""
    heads = draw.choice([n for n in (1, 2, 3, 4, 6, 8) if wide % n == 0])
    return dict(
        mamba_n_heads=heads, mamba_d_head=wide // heads, mamba_d_state=draw.choice([3, 4, 7]),
        mamba_n_groups=draw.choice([n for n in (1, 2, 3) if heads % n == 0]), mamba_d_conv=draw.randint(2, 4),
        mamba_conv_bias=flag(draw), mamba_chunk_size=draw.choice([4, 8]),
    )  # fmt: skip


def falcon_mamba(draw):
    dim = draw.choice([6, 10, 16])
    return dict(
        hidden_size=dim, num_hidden_layers=draw.randint(1, 3), state_size=draw.choice([1, 3, 4]),
        expand=draw.choice([1, 2]), conv_kernel=draw.randint(2, 4), use_conv_bias=flag(draw), vocab_size=37,
        time_step_rank=draw.choice(["auto", 3]), layer_norm_epsilon=eps(draw), mixer_rms_eps=eps(draw),
        tie_word_embeddings=flag(draw),
    )  # fmt: skip


def mixtral(draw):
    found, head_dim = sizes(draw)
    found["head_dim"] = head_dim  # without it their class knows no scheme but the plain one
    more = dict(sliding_window=draw.choice([None, window(draw)]), rms_norm_eps=eps(draw))
    return found | routed(draw, "num_local_experts") | more | rotary(draw, head_dim)


def qwen2_moe(draw):
    found, head_dim = sizes(draw)
    more = dict(shared_expert_intermediate_size=draw.randint(5, 12), qkv_bias=flag(draw), rms_norm_eps=eps(draw))
    return found | sparse(draw, found["num_hidden_layers"]) | more | rotary(draw, head_dim)


def qwen3_moe(draw):
    found, head_dim = sizes(draw)
    more = dict(attention_bias=flag(draw), rms_norm_eps=eps(draw))
    return found | sparse(draw, found["num_hidden_layers"]) | more | rotary(draw, head_dim)


def olmoe(draw):
    found, head_dim = sizes(draw, apart=False)
    more = dict(norm_topk_prob=flag(draw), attention_bias=flag(draw), rms_norm_eps=eps(draw))
    return found | routed(draw) | more | rotary(draw, head_dim)


def granitemoe(draw):
    found, head_dim = sizes(draw, apart=False)
    factors = dict(
        embedding_multiplier=draw.choice([1.0, 12.0]), logits_scaling=draw.choice([1, 0.3, 8.0]),
        residual_multiplier=draw.choice([1.0, 0.22, 3]), attention_multiplier=draw.choice([0.1, 1.0]),
    )  # fmt: skip
    more = dict(attention_bias=flag(draw), rms_norm_eps=eps(draw))
    return found | routed(draw, "num_local_experts") | factors | more | rotary(draw, head_dim)


def granitemoeshared(draw):
    return granitemoe(draw) | dict(shared_intermediate_size=draw.choice([0, 5, 8]))


def granitemoehybrid(draw):
    found = granitemoe(draw)
    layers, wide = found["num_hidden_layers"], draw.choice([1, 2])
    more = dict(
        shared_intermediate_size=draw.randint(5, 9), mamba_expand=wide, mamba_proj_bias=flag(draw),
        layer_types=kinds(draw, layers, *draw.choice([("mamba", "attention"), ("linear_attention", "full_attention")])),
        num_local_experts=draw.choice([0, found["num_local_experts"]]),
    )  # fmt: skip
    if flag(draw):
        more["position_embedding_type"] = "rope"
    else:
        del found["rope_parameters"]
    return found | more | of_mamba2(draw, wide * found["hidden_size"])


def jamba(draw):
    found, _ = sizes(draw, apart=False)
    period, sparse = draw.randint(1, 3), draw.randint(1, 3)
    found["num_hidden_layers"] += 2  # so that one of them is attention
    more = dict(
        attn_layer_period=period, attn_layer_offset=draw.randrange(period), expert_layer_period=sparse,
        expert_layer_offset=draw.randrange(sparse), mamba_d_state=draw.choice([3, 4]), mamba_d_conv=draw.randint(2, 4),
        mamba_expand=draw.choice([1, 2]), mamba_dt_rank=draw.choice(["auto", 2]), mamba_conv_bias=flag(draw),
        rms_norm_eps=draw.choice([1e-3, 0.01, 0.3]),  # a norm of two numbers near zero is no sum of single precision
    )  # fmt: skip
    return found | routed(draw) | more


def bamba(draw):
    found, _ = sizes(draw, apart=False)
    width = draw.choice([8, 12, 16])  # half of a head turns, in several pairs
    found["hidden_size"] = width * found["num_attention_heads"]
    layers, wide = found["num_hidden_layers"], draw.choice([1, 2])
    more = dict(
        attn_layer_indices=[draw.randrange(layers), layers], mamba_expand=wide, mamba_proj_bias=flag(draw),
        attention_bias=flag(draw), mlp_bias=flag(draw), rms_norm_eps=eps(draw),
    )  # fmt: skip
    return found | more | of_mamba2(draw, wide * found["hidden_size"]) | rotary(draw, width // 2)


def falcon_h1(draw):
    found, width = sizes(draw, apart=False)
    wide = draw.choice([None, found["hidden_size"], 12])
    factor = [0.4, 0.9, 1.0, 1.7]
    names = (
        "embedding", "lm_head", "key", "attention_in", "attention_out", "ssm_in", "ssm_out",
    )  # fmt: skip
    more = dict(
        mamba_d_ssm=wide, mamba_rms_norm=flag(draw), mamba_norm_before_gate=flag(draw), rms_norm_eps=eps(draw),
        mlp_multipliers=draw.choices(factor, k=2), ssm_multipliers=draw.choices(factor, k=5),
    )  # fmt: skip
    each = {f"{name}_multiplier": draw.choice(factor) for name in names}
    return found | more | each | of_mamba2(draw, wide or 2 * found["hidden_size"]) | rotary(draw, width)


def lfm2(draw):
    found, width = sizes(draw, apart=False)
    layers = found["num_hidden_layers"]
    listed = dict(layer_types=kinds(draw, layers, "conv", "full_attention"))
    laid = draw.choice([listed, dict(full_attn_idxs=[draw.randrange(layers), layers]), {}])
    wide = dict(
        block_auto_adjust_ff_dim=flag(draw), block_ffn_dim_multiplier=draw.choice([1.3, 1]),
        block_multiple_of=draw.choice([1, 7]),
    )  # fmt: skip
    more = dict(conv_bias=flag(draw), conv_L_cache=draw.randint(2, 4), norm_eps=eps(draw))
    return found | laid | wide | more | rotary(draw, width)


def recurrent_gemma(draw):
    """A window of two tokens or more: their cache of a window of one keeps all tokens."""
    found, width = sizes(draw, apart=False)
    heads, found["num_hidden_layers"] = found["num_attention_heads"], draw.randint(3, 4)
    turned = 2 * draw.randint(1, width // 2)
    part = (turned + 0.01) / width if turned < width else 1.0
    more = dict(
        lru_width=draw.choice([None, 2 * heads]), attention_window_size=max(2, window(draw)),
        conv1d_width=draw.randint(2, 4),
        logits_soft_cap=draw.choice([0.7, 30.0]), rms_norm_eps=eps(draw), attention_bias=flag(draw),
        hidden_activation=draw.choice(["gelu", "gelu_pytorch_tanh", "silu"]),
        block_types=draw.choice([["recurrent", "recurrent", "attention"], ["attention", "recurrent"]]),
        rope_parameters=dict(rope_type="default", rope_theta=draw.choice([50.0, 1e4]), partial_rotary_factor=part),
    )  # fmt: skip
    return found | more


def qwen3_next(draw):
    found, _ = sizes(draw)
    found["head_dim"] = width = draw.choice([4, 6, 12])
    layers, keys = found["num_hidden_layers"], draw.choice([1, 2, 3])
    listed = dict(layer_types=kinds(draw, layers, "linear_attention", "full_attention"))
    more = dict(
        linear_num_key_heads=keys, linear_num_value_heads=keys * draw.choice([1, 2, 3]),
        linear_key_head_dim=draw.choice([3, 4, 6]), linear_value_head_dim=draw.choice([2, 4, 5]),
        linear_conv_kernel_dim=draw.randint(2, 4), shared_expert_intermediate_size=draw.randint(5, 9),
        attention_bias=flag(draw), rms_norm_eps=eps(draw),
    )  # fmt: skip
    laid = draw.choice([listed, dict(full_attention_interval=draw.randint(1, layers))])
    turned = partly(draw, width)
    if turned["rope_parameters"]["rope_type"] == "dynamic":
        turned["rope_parameters"]["partial_rotary_factor"] = 1.0  # of one pair that scheme has no base
    return found | laid | sparse(draw, layers) | more | turned


def xlstm(draw):
    heads = draw.choice([1, 2, 3])
    return dict(
        hidden_size=heads * draw.choice([4, 6, 10]), num_heads=heads, num_hidden_layers=draw.randint(1, 3),
        qk_dim_factor=draw.choice([0.5, 1.0, 2.0]), v_dim_factor=draw.choice([0.5, 1.0, 1.5]), norm_eps=eps(draw),
        eps=draw.choice([1e-6, 0.1]),
        ffn_proj_factor=draw.choice([1.3, 2.667]), ffn_round_up_to_multiple_of=draw.choice([1, 8, 64]),
        gate_soft_cap=draw.choice([2.0, 15.0]), output_logit_soft_cap=draw.choice([3.0, 30.0]),
        chunk_size=draw.choice([1, 4, 64]), tie_word_embeddings=flag(draw), vocab_size=37,
    )  # fmt: skip
