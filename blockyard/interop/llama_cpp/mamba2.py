"""Mamba-2: A and D are columns of heads, the gain of the norm a row for each group."""

from torch import Tensor

from blockyard.interop.runs import BODY, Config, Runs, column, decay, filters


def _decays(x: Tensor, config: Config) -> Tensor:
    return column(decay(x, config), config)


def _groups(x: Tensor, config: Config) -> Tensor:
    return x.unflatten(0, (config["n_groups"], -1))


RUNS = Runs(
    arch="mamba2",
    keys=BODY | {
        "ssm.conv_kernel": "conv_kernel", "ssm.state_size": "state_size", "ssm.group_count": "n_groups",
        "ssm.inner_size": lambda config: config["num_heads"] * config["head_dim"], "ssm.time_step_rank": "num_heads",
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon",
    },
    fixed={"feed_forward_length": 0, "attention.head_count": 0, "context_length": 1 << 20},
    only={"use_conv_bias": (True,)},
    turns=(),
    changes={"A_log": _decays, "mixer.D": column, "conv1d.weight": filters, "mixer.norm.weight": _groups},
    renamed={"dt_bias": "dt_proj.bias"},
)  # fmt: skip
