"""Which rules do five architectures learn in ten minutes, and how far beyond the length of training do they hold?

Source   none    Family  pages
Claim    attention recalls and copies, memories that are overwritten follow groups and parity, and none learns all
Differs  sixty thousand parameters, a few hundred thousand tokens, two seeds: what is not learned here may be with more
"""

from blockyard.study._base import Study
from blockyard.study._rules import rules_study


def study() -> Study:
    return rules_study(tokens="150k", seeds=2)
