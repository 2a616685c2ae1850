"""A short filter over each channel's own past."""

from .op import causal_conv

__all__ = ["causal_conv"]
