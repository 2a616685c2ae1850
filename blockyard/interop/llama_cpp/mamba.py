"""Mamba: twice the width inside; A is kept in the place of its logarithm."""

from blockyard.interop.runs import BODY, Runs, decay, filters

RUNS = Runs(
    arch="mamba",
    keys=BODY | {
        "ssm.conv_kernel": "conv_kernel", "ssm.inner_size": "intermediate_size", "ssm.state_size": "state_size",
        "ssm.time_step_rank": "time_step_rank", "attention.layer_norm_rms_epsilon": "layer_norm_epsilon",
    },
    fixed={"feed_forward_length": 0, "attention.head_count": 0, "context_length": 1 << 20},
    only={"expand": (2,), "use_conv_bias": (True,)},
    turns=(),
    changes={"A_log": decay, "conv1d.weight": filters},
)  # fmt: skip
