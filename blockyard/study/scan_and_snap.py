"""How much does attention of one rate concentrate where its decoder learns as fast, ten and a hundred times as fast?

Source   arXiv 2305.16380    Slug  scan-and-snap    Family  in context
Claim    attention leaves tokens that many answers share for those of one, the most frequent first, until the decoder
         fits, and then stays: the faster the decoder, the more even attention is left
Differs  40 tokens of contexts, rows of 64, and the usual decay of weights; the rate of attention is the same in all
         arms, since a slower one would move less whatever its decoder did
"""

import numpy as np

from blockyard.probe import token_frequency_probe
from blockyard.study._base import Given, Race, Study, Trial, below, beneath, figure
from blockyard.study._shown import asked, shown

TASK = "contextual_tokens:classes=8,queries=1,distinct=4,shared=8,length=64"
RATIOS = (1, 10, 100)
DIM = 49  # an id each
ATTENTION = 20  # its rate, in units of the run's


def attention(given: Given) -> dict[str, float]:
    """Of each arm how much attention shared tokens get, 1 where it is even, and how much it ranks distinct ones by how
    often they are there."""
    tokens, targets = shown(asked(TASK), given.seed, 1024 if given.tier == "small" else 32)
    rows, found = np.concatenate([tokens.numpy(), targets[:, -1:]], 1), dict[str, float]()
    for ratio in RATIOS:
        read = token_frequency_probe(given.trained("ratios", f"ratio_{ratio}"), rows)
        for name in ("shared", "order"):
            found[f"{name} at {ratio}"] = float(read[f"steps.0.part:{name}"][0])
    return found


def study() -> Study:
    system = f"scan_and_snap:dim={DIM},vocab={DIM}"
    arms = tuple(f"ratio_{ratio}={system},decoder={ATTENTION * ratio},ratio={ratio}" for ratio in RATIOS)
    options = {"params": "4.8k", "tokens": "500k", "batch": 16, "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("ratios", arms, task=TASK, options=options, smallest="4.8k"),),
        trials=(Trial("attention", attention),),
        predictions=(
            *(below("ratios", f"ratio_{ratio}", 0.05) for ratio in RATIOS),
            *(figure("attention", f"order at {ratio}", least=0.8) for ratio in RATIOS[:2]),
            figure("attention", "shared at 1", most=0.75),
            beneath("attention", "shared at 1", "shared at 10"),
            beneath("attention", "shared at 10", "shared at 100"),
        ),
    )
