"""Granite: a llama with factors on embeddings, scores of attention, what sublayers write, and the last scores."""

from blockyard.interop.runs import DECODER, PAIRED, RMS, SILU, Config, Runs


def _refuses(config: Config) -> str | None:
    return "takes a residual_multiplier of 0 for none" if config["residual_multiplier"] == 0 else None


RUNS = Runs(
    arch="granite",
    keys=DECODER | RMS | {
        "attention.scale": "attention_multiplier", "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier", "logit_scale": "logits_scaling",
    },
    only=SILU,
    turns=("default", "linear", "yarn", "llama3"),
    changes=PAIRED,
    refuses=_refuses,
)  # fmt: skip
