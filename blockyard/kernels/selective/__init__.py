"""A vector memory per channel whose fading, writing and reading depend on the token."""

from .op import selective_scan

__all__ = ["selective_scan"]
