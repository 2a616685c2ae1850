"""Random small configurations of transformers' classes, one function for each model type: draw -> settings.

What a new map needs to be tested is a function here. Sizes are odd where they may be, windows are shorter than the text
that is read, and every kind of rotary position is met.
"""

TEXT = 19


def ropes(draw, head_dim, base=None):
    """A scheme of rotary positions, and the longest text that it is for."""
    base, length = base or draw.choice([100.0, 1e4, 5e5]), draw.choice([8, 16, 64])
    pairs = head_dim // 2
    schemes = [
        dict(rope_type="default"),
        dict(rope_type="linear", factor=draw.choice([2.0, 3.5])),
        dict(rope_type="dynamic", factor=2.0),
        dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
        | dict(original_max_position_embeddings=draw.choice([12, 40])),
        dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=draw.choice([12, 100])),
        dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=16, beta_fast=3.0, beta_slow=0.5)
        | dict(mscale=0.7, mscale_all_dim=1.3),
        dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=64, attention_factor=1.3),
        long_factors(draw, pairs),
    ]
    return draw.choice(schemes) | dict(rope_theta=base), length


def long_factors(draw, pairs):
    lists = {name: [draw.uniform(1, most) for _ in range(pairs)] for name, most in (("short", 2), ("long", 9))}
    more = draw.choice([dict(), dict(factor=3.0), dict(attention_factor=0.9)])
    return dict(
        rope_type="longrope", short_factor=lists["short"], long_factor=lists["long"],
        original_max_position_embeddings=draw.choice([10, 30]), **more,
    )  # fmt: skip


def sizes(draw, apart=True, kv=True):
    """Sizes of a decoder; `apart`: heads may be wider or narrower than the width divided by their number."""
    heads = draw.choice([1, 2, 3, 4, 6])
    width = draw.choice([4, 6, 10])
    found = dict(
        hidden_size=heads * width, num_attention_heads=heads, num_hidden_layers=draw.randint(1, 4),
        intermediate_size=draw.randint(9, 30), tie_word_embeddings=draw.random() < 0.5, vocab_size=37,
    )  # fmt: skip
    if kv:
        found["num_key_value_heads"] = draw.choice([n for n in (1, 2, 3, 6) if heads % n == 0])
    if apart and draw.random() < 0.7:
        found["head_dim"] = width = draw.choice([2, 4, 6, 12])
    return found, found.get("head_dim", width)


def eps(draw):
    return draw.choice([1e-6, 0.01, 0.3])


def flag(draw):
    return draw.random() < 0.5


def window(draw):
    return draw.choice([1, 2, 5, 7, TEXT, 40])


def types(draw, layers):
    return [draw.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]


def rotary(draw, head_dim):
    scheme, length = ropes(draw, head_dim)
    return dict(rope_parameters=scheme, max_position_embeddings=length)


def gpt2(draw):
    heads = draw.choice([1, 2, 3])
    return dict(
        n_embd=heads * draw.choice([3, 4, 7]), n_head=heads, n_layer=draw.randint(1, 3), n_positions=32,
        n_inner=draw.choice([None, 11]), layer_norm_epsilon=eps(draw), tie_word_embeddings=flag(draw), vocab_size=37,
        activation_function=draw.choice(["gelu_new", "relu", "gelu"]),
    )  # fmt: skip


def llama(draw):
    found, head_dim = sizes(draw)
    acts = draw.choice(["silu", "gelu", "gelu_pytorch_tanh", "relu"])
    biases = dict(attention_bias=flag(draw), mlp_bias=flag(draw))
    return found | dict(hidden_act=acts, rms_norm_eps=eps(draw)) | biases | rotary(draw, head_dim)


def mistral(draw):
    found, head_dim = sizes(draw)
    more = dict(sliding_window=draw.choice([None, window(draw)]), rms_norm_eps=eps(draw))
    return found | more | rotary(draw, head_dim)


def qwen2(draw):
    found, head_dim = sizes(draw)
    layers = found["num_hidden_layers"]
    slide = dict(use_sliding_window=True, sliding_window=window(draw))
    listed = slide | dict(layer_types=types(draw, layers))
    counted = slide | dict(max_window_layers=draw.randint(0, layers))
    return found | draw.choice([{}, listed, counted]) | dict(rms_norm_eps=eps(draw)) | rotary(draw, head_dim)


def qwen3(draw):
    found = qwen2(draw)
    return {"head_dim": found["hidden_size"] // found["num_attention_heads"]} | found | dict(attention_bias=flag(draw))


def smollm3(draw):
    found, head_dim = sizes(draw)
    layers = found["num_hidden_layers"]
    still = draw.choice([{}, dict(no_rope_layer_interval=2), dict(no_rope_layers=[draw.randint(0, 1)] * layers)])
    listed = dict(sliding_window=window(draw), layer_types=types(draw, layers))
    slide = draw.choice([{}, dict(use_sliding_window=True, sliding_window=window(draw)), listed])
    biases = dict(attention_bias=flag(draw), mlp_bias=flag(draw))
    return found | still | slide | biases | dict(rms_norm_eps=eps(draw)) | rotary(draw, head_dim)


def gemma(draw):
    found, head_dim = sizes(draw)
    act = draw.choice(["gelu", "gelu_pytorch_tanh", "silu"])
    more = dict(head_dim=head_dim, attention_bias=flag(draw), rms_norm_eps=eps(draw), hidden_act=act)
    return found | more | rotary(draw, head_dim)


def gemma2(draw):
    found, head_dim = sizes(draw)
    caps = dict(
        attn_logit_softcapping=draw.choice([None, 0.7, 50.0]), final_logit_softcapping=draw.choice([None, 1.5, 30.0])
    )
    more = dict(head_dim=head_dim, attention_bias=flag(draw), rms_norm_eps=eps(draw), sliding_window=window(draw))
    listed = draw.choice([{}, dict(layer_types=types(draw, found["num_hidden_layers"]))])
    scale = dict(query_pre_attn_scalar=draw.choice([3, 24, 256]))
    return found | more | caps | listed | scale | rotary(draw, head_dim)


def by_type(draw, head_dim):
    """Positions of each type of layer. Only one that needs no longest text, which both would share."""
    one, two = ({"rope_type": "default", "rope_theta": draw.choice([50.0, 1e4])} for _ in range(2))
    full = draw.choice([one, one | dict(rope_type="linear", factor=4.0), ropes(draw, head_dim)[0]])
    found = draw.choice([None, dict(full_attention=full, sliding_attention=two)])
    return dict(rope_parameters=found, max_position_embeddings=draw.choice([12, 64]))


def gemma3_text(draw):
    found = gemma2(draw) | dict(attn_logit_softcapping=None)
    return found | by_type(draw, found["head_dim"])


def olmo(draw):
    found, head_dim = sizes(draw)
    return found | dict(attention_bias=flag(draw)) | rotary(draw, head_dim)


def olmo2(draw):
    found, head_dim = sizes(draw)
    return found | dict(attention_bias=flag(draw), rms_norm_eps=eps(draw)) | rotary(draw, head_dim)


def olmo3(draw):
    found = olmo2(draw)
    head_dim = found.get("head_dim", found["hidden_size"] // found["num_attention_heads"])
    listed = draw.choice([{}, dict(layer_types=types(draw, found["num_hidden_layers"]))])
    return found | dict(sliding_window=window(draw)) | listed | by_type(draw, head_dim)


def phi3(draw):
    found, width = sizes(draw, apart=False)
    part = draw.choice([1.0, 0.5]) if width % 4 == 0 else 1.0
    plain = dict(rope_type="default", rope_theta=300.0, partial_rotary_factor=part)
    factors = long_factors(draw, int(width * part) // 2) | plain | dict(rope_type="longrope")
    length = factors.pop("original_max_position_embeddings")
    scheme = draw.choice([plain, factors])
    more = dict(rms_norm_eps=eps(draw), sliding_window=draw.choice([None, window(draw)]), rope_parameters=scheme)
    return found | more | dict(original_max_position_embeddings=length, max_position_embeddings=draw.choice([8, 99]))


def granite(draw):
    found, head_dim = sizes(draw)
    biases = dict(attention_bias=flag(draw), mlp_bias=flag(draw), rms_norm_eps=eps(draw))
    factors = dict(
        embedding_multiplier=draw.choice([1.0, 12.0]), logits_scaling=draw.choice([1, 0.3, 8.0]),
        residual_multiplier=draw.choice([1.0, 0.22, 3]), attention_multiplier=draw.choice([0.1, 1.0]),
    )  # fmt: skip
    return found | biases | factors | rotary(draw, head_dim)


def partly(draw, width):
    """Positions of which a part of each head turns: an even number of channels."""
    turned = draw.choice(range(2, width + 1, 2))
    scheme, length = ropes(draw, turned)
    return dict(
        rope_parameters=scheme | dict(partial_rotary_factor=(turned + 0.01) / width if turned < width else 1.0),
        max_position_embeddings=length,
    )


def gpt_neox(draw):
    found, width = sizes(draw, apart=False, kv=False)
    more = dict(use_parallel_residual=flag(draw), attention_bias=flag(draw), layer_norm_eps=eps(draw))
    act = dict(hidden_act=draw.choice(["gelu", "relu", "gelu_new"]))
    return found | more | act | partly(draw, width)


def starcoder2(draw):
    found, head_dim = sizes(draw)
    more = dict(use_bias=flag(draw), norm_epsilon=eps(draw), sliding_window=draw.choice([None, window(draw)]))
    return found | more | rotary(draw, head_dim)


def stablelm(draw):
    found, width = sizes(draw, apart=False)
    more = dict(use_parallel_residual=flag(draw), use_qkv_bias=flag(draw), layer_norm_eps=eps(draw))
    return found | more | partly(draw, width)
