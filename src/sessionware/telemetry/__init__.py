"""What this worker counts, logs, audits and tells: never a secret, never a wait inside a request."""

from sessionware.telemetry.counts import Action, Counts, Feature, Reason
from sessionware.telemetry.endings import Endings
from sessionware.telemetry.observers import Observer, Observers
from sessionware.telemetry.telemetry import Telemetry, Who, who_asks

__all__ = ["Action", "Counts", "Endings", "Feature", "Observer", "Observers", "Reason", "Telemetry", "Who", "who_asks"]
