"""GPT-2: learned positions, and projections turned over."""

from blockyard.interop.runs import NEARLY, TANH, Runs, turned

RUNS = Runs(
    arch="gpt2",
    keys={
        "embedding_length": "n_embd", "block_count": "n_layer", "vocab_size": "vocab_size",
        "feed_forward_length": "n_inner", "attention.head_count": "n_head", "context_length": "n_positions",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
    only={"activation_function": TANH},
    near={"activation_function": NEARLY},
    turns=(),
    changes=dict.fromkeys(("c_attn.weight", "c_proj.weight", "c_fc.weight"), turned),
)  # fmt: skip
