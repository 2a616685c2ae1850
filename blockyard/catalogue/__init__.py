"""The index of systems, and how far each one is: folded from headers, recipes and records, never typed.

    planned   nobody carries the slug
    draft     a part or a recipe carries it, in its header or as its name
    checked   all tests of tests/systems/test_<slug>.py passed when they were last recorded
    matched   checked, and it agrees with an independent implementation
    raced     checked, and a study of its claim has a verdict

Reading it runs nothing and needs no torch. `python -m tests.record`, in a checkout, runs the tests and writes
records/, which ships with the library.
"""

from blockyard.catalogue.index import STATUSES, catalogue

__all__ = ["STATUSES", "catalogue"]
