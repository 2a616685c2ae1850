"""Gemma 3, its text: a window in five layers of six, whose positions have a base of their own."""

from blockyard.interop.runs import DECODER, FULL, NEARLY, NO_BIAS, RMS, SLIDING, TANH, Config, Runs, one_more


def _refuses(config: Config) -> str | None:
    layers, width, heads = config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]
    if config["layer_types"] != [SLIDING if (i + 1) % 6 else FULL for i in range(layers)]:
        return "reads the whole text in every sixth layer, and this model in others"
    asked = width // heads if layers == 62 else config["head_dim"]  # by the number of layers, the largest one
    if config["query_pre_attn_scalar"] != asked:
        return f"divides scores by the root of {asked}, and this model by that of {config['query_pre_attn_scalar']}"
    return None


RUNS = Runs(
    arch="gemma3",
    keys=DECODER | RMS | {
        "attention.sliding_window": "sliding_window", "final_logit_softcapping": "final_logit_softcapping",
    },
    only=NO_BIAS | {"hidden_activation": TANH},
    near={"hidden_activation": NEARLY},
    turns=("default", "linear"),
    changes={"norm.weight": one_more},
    refuses=_refuses,
)  # fmt: skip
