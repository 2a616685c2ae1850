"""Gemma 2: caps on scores, and a window in every other layer from the first on."""

from blockyard.interop.runs import DECODER, FULL, NEARLY, NO_BIAS, RMS, SLIDING, TANH, Config, Runs, divides, one_more


def _refuses(config: Config) -> str | None:
    layers = config["num_hidden_layers"]
    if config["layer_types"] != [FULL if i % 2 else SLIDING for i in range(layers)]:
        return "has a window in the first layer, the third and so on, and this model has others"
    if None in (config["attn_logit_softcapping"], config["final_logit_softcapping"]):
        return "caps scores of attention and of the head, and this model does not cap both"
    return divides(config, 46)


RUNS = Runs(
    arch="gemma2",
    keys=DECODER | RMS | {
        "attention.sliding_window": "sliding_window", "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
    },
    only=NO_BIAS | {"hidden_activation": TANH, "tie_word_embeddings": (True,)},
    near={"hidden_activation": NEARLY},
    turns=("default", "linear"),
    changes={"norm.weight": one_more},
    refuses=_refuses,
)  # fmt: skip
