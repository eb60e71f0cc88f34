"""`postgresql://`: one database shared by any number of workers and hosts."""

from sessionware.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
