"""Token-wise maps whose plain form goes through memory too often."""

from .op import gated, rms_norm, rotate

__all__ = ["gated", "rms_norm", "rotate"]
