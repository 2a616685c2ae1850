"""Small models that llama.cpp runs: for each a model type of transformers and the settings of its class."""

PLAIN = dict(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
    vocab_size=37, max_position_embeddings=64, rms_norm_eps=0.01, tie_word_embeddings=False,
)  # fmt: skip
TURNED = dict(rope_type="default", rope_theta=300.0)
LLAMA3 = dict(
    rope_type="llama3", rope_theta=300.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=40,
)  # fmt: skip
YARN = dict(rope_type="yarn", rope_theta=300.0, factor=4.0, original_max_position_embeddings=20)
LONG = dict(
    rope_type="longrope", rope_theta=300.0, short_factor=[1.1, 1.3, 1.5, 1.9], long_factor=[2.0, 3.0, 4.0, 7.0],
    attention_factor=1.2,
)  # fmt: skip
GEMMA = PLAIN | dict(head_dim=12, tie_word_embeddings=True)
GEMMAS = GEMMA | dict(query_pre_attn_scalar=12, sliding_window=5)
NEOX = {name: value for name, value in PLAIN.items() if name not in ("num_key_value_heads", "rms_norm_eps")}
MAMBA = dict(
    hidden_size=16, num_hidden_layers=2, vocab_size=37, state_size=16, conv_kernel=4, layer_norm_epsilon=0.01
)  # fmt: skip
GPT2 = dict(n_embd=24, n_head=3, n_layer=2, n_positions=64, n_inner=40, vocab_size=37, layer_norm_epsilon=0.01)

CASES = {
    "llama": ("llama", PLAIN | dict(rope_parameters=TURNED)),
    "llama all heads, tied, biased": (
        "llama",
        PLAIN | dict(num_key_value_heads=4, tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    ),
    "llama wide heads": ("llama", PLAIN | dict(head_dim=12, num_key_value_heads=1)),
    "llama linear": ("llama", PLAIN | dict(rope_parameters=TURNED | dict(rope_type="linear", factor=3.5))),
    "llama llama3": ("llama", PLAIN | dict(rope_parameters=LLAMA3)),
    "llama yarn": ("llama", PLAIN | dict(rope_parameters=YARN)),
    "llama yarn grown": ("llama", PLAIN | dict(rope_parameters=YARN | dict(attention_factor=1.3))),
    "mistral": ("mistral", PLAIN | dict(sliding_window=None, head_dim=8)),
    "qwen2": ("qwen2", PLAIN | dict(rope_parameters=TURNED)),
    "qwen2 tied, yarn": ("qwen2", PLAIN | dict(rope_parameters=YARN, tie_word_embeddings=True)),
    "qwen3": ("qwen3", PLAIN | dict(head_dim=12, rope_parameters=TURNED)),
    "gemma": ("gemma", GEMMA | dict(hidden_act="gelu_pytorch_tanh")),
    "gemma2": ("gemma2", GEMMAS | dict(attn_logit_softcapping=7.0, final_logit_softcapping=3.0)),
    "gemma3_text": ("gemma3_text", GEMMAS | dict(
        num_hidden_layers=7, final_logit_softcapping=None,
        rope_parameters=dict(full_attention=TURNED | dict(rope_type="linear", factor=4.0), sliding_attention=TURNED),
    )),
    "phi3": ("phi3", PLAIN | dict(rope_parameters=TURNED | dict(partial_rotary_factor=0.5))),
    "phi3 longrope": ("phi3", PLAIN | dict(rope_parameters=LONG, original_max_position_embeddings=256)),
    "olmo2": ("olmo2", PLAIN | dict(rope_parameters=TURNED)),
    "olmo2 tied": ("olmo2", PLAIN | dict(tie_word_embeddings=True)),
    "granite": ("granite", PLAIN | dict(
        embedding_multiplier=3, logits_scaling=4, residual_multiplier=0.5, attention_multiplier=0.2,
        rope_parameters=LLAMA3, attention_bias=True,
    )),
    "gpt2": ("gpt2", GPT2 | dict(activation_function="gelu_new")),
    "gpt2 untied, exact": ("gpt2", GPT2 | dict(activation_function="gelu", tie_word_embeddings=False)),
    "gpt_neox": ("gpt_neox", NEOX | dict(rope_parameters=TURNED | dict(partial_rotary_factor=0.5))),
    "gpt_neox in turn, tied": (
        "gpt_neox", NEOX | dict(use_parallel_residual=False, tie_word_embeddings=True, hidden_act="gelu_new")
    ),
    "mamba": ("mamba", MAMBA),
    "mamba untied": ("mamba", MAMBA | dict(tie_word_embeddings=False, time_step_rank=3)),
    "mamba2": ("mamba2", MAMBA | dict(head_dim=8, num_heads=4, n_groups=2)),
    "mamba2 tied": ("mamba2", MAMBA | dict(head_dim=4, num_heads=8, n_groups=1, tie_word_embeddings=True)),
}  # fmt: skip
