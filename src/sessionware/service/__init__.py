"""The sessions service: what can be done to sessions, whoever asks. Knows no HTTP."""

from sessionware.service.actors import APP, Actor
from sessionware.service.runtime import Runtime
from sessionware.service.sessions import Sessions
from sessionware.service.snapshot import Closed, Listing, Snapshot, Started
from sessionware.service.terms import Terms

__all__ = ["APP", "Actor", "Closed", "Listing", "Runtime", "Sessions", "Snapshot", "Started", "Terms"]
