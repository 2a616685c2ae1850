"""Which rules do five architectures learn in ten minutes, and how far beyond the length of training do they hold?

Source   none    Family  pages
Claim    attention recalls and copies, memories that are overwritten follow groups and parity, and none learns all
Differs  sixty thousand parameters, 200 steps of 64 examples whatever their length, two seeds: what is not learned here
         may be with more. DeltaNet has the eigenvalues below 0 that parity needs
"""

from blockyard.study._base import Study
from blockyard.study._rules import rules_study


def study() -> Study:
    return rules_study(rows=200 * 64, seeds=2)
