"""A scalar memory whose gates read what was said before."""

from .op import slstm_scan

__all__ = ["slstm_scan"]
