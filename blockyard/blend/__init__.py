"""Several models of one spec become one: their numbers are mixed, each tensor with those of its own path and axes.

    merge([a, b], "ties:density=0.2", base=c)         one file a way: weighted means, arcs, vectors added to a base

The models that are given stay as they are.
"""

from blockyard.blend._base import Blend, make_blend, merge

__all__ = ["Blend", "make_blend", "merge"]
