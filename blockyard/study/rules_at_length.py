"""Which rules do five architectures learn in two hours, and how far beyond the length of training do they hold?

Source   none    Family  pages
Claim    attention recalls and copies, memories that are overwritten follow groups and parity, and none learns all
Differs  as `rules`, with 2,000 steps and three seeds
"""

from blockyard.study._base import Study
from blockyard.study._rules import rules_study


def study() -> Study:
    return rules_study(rows=2000 * 64, seeds=3)
