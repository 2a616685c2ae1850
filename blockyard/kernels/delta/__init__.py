"""A matrix memory that erases what a key retrieves before it writes."""

from .op import delta_scan

__all__ = ["delta_scan"]
