"""The expiry loop."""

from sessionware.reaper.reaper import Reaper

__all__ = ["Reaper"]
