"""Softmax attention."""

from .op import attend

__all__ = ["attend"]
