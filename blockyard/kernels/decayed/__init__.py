"""A matrix memory that fades and is written by outer products."""

from .op import decayed_scan

__all__ = ["decayed_scan"]
