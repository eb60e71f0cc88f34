"""The REST session API: one ASGI app over the sessions service, at any root or mounted in any app."""

from sessionware.api.app import SessionApi
from sessionware.api.callers import CallerOf, caller_of
from sessionware.api.calls import ApiOptions
from sessionware.api.probes import Readiness

__all__ = ["ApiOptions", "CallerOf", "Readiness", "SessionApi", "caller_of"]
