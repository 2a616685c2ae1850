"""Token-wise maps whose plain form goes through memory too often."""

from .op import gated, rms_norm, turn

__all__ = ["gated", "rms_norm", "turn"]
