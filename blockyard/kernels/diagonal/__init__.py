"""A vector memory whose every element fades and is written by itself."""

from .op import diagonal_scan

__all__ = ["diagonal_scan"]
