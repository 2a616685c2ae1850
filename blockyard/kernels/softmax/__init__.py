"""Softmax attention."""

from .op import attend
from .reference import attend_scores, attend_values, attend_weights

__all__ = ["attend", "attend_scores", "attend_values", "attend_weights"]
