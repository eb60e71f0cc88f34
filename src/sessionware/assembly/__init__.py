"""From settings to objects: the only layer that names concrete classes."""

from sessionware.assembly.installation import Sessionware
from sessionware.assembly.middleware import SessionMiddleware

__all__ = ["SessionMiddleware", "Sessionware"]
