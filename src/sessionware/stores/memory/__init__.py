"""`memory://`: everything in this process; the fastest store, and it forgets at the end of the process."""

from sessionware.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
