"""A product that reads only the rows of a matrix that a token uses."""

from .largest import largest
from .op import gathered_linear

__all__ = ["gathered_linear", "largest"]
