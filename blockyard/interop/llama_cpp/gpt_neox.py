"""GPT-NeoX and Pythia: queries of all heads, then keys, then values, in the place of head by head."""

from torch import Tensor

from blockyard.interop.runs import BODY, NEARLY, TANH, Config, Runs


def _apart(x: Tensor, config: Config) -> Tensor:
    return x.unflatten(0, (config["num_attention_heads"], 3, -1)).transpose(0, 1).flatten(0, 2)


RUNS = Runs(
    arch="gptneox",
    keys=BODY | {
        "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
        "use_parallel_residual": "use_parallel_residual", "attention.layer_norm_epsilon": "layer_norm_eps",
    },
    only={"hidden_act": TANH, "attention_bias": (True,)},
    near={"hidden_act": NEARLY},
    whole=True,
    changes=dict.fromkeys(("query_key_value.weight", "query_key_value.bias"), _apart),
)  # fmt: skip
