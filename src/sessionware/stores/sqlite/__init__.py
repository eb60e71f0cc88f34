"""`sqlite:///path`: one file on one host, shared by several processes; survives restarts and kill -9."""

from sessionware.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
