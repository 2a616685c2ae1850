"""Token-wise maps whose plain form goes through memory too often."""

from .op import gated, rms_norm, rotate, swiglu

__all__ = ["gated", "rms_norm", "rotate", "swiglu"]
