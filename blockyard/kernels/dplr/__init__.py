"""A matrix memory whose transition is diagonal plus rank one."""

from .op import dplr_scan

__all__ = ["dplr_scan"]
