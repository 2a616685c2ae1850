"""Gemma 3, its text: a window in five layers of six, whose positions have a base of their own."""

from blockyard.interop.runs import DECODER, FULL, NEARLY, NO_BIAS, RMS, SLIDING, TANH, Config, Runs, divides, one_more


def _refuses(config: Config) -> str | None:
    layers = config["num_hidden_layers"]
    if config["layer_types"] != [SLIDING if (i + 1) % 6 else FULL for i in range(layers)]:
        return "reads the whole text in every sixth layer, and this model in others"
    return divides(config, 62)


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
