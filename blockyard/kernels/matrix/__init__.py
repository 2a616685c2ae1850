"""A full matrix for every token."""

from .op import linear

__all__ = ["linear"]
