"""`redis://`, `rediss://`, `valkey://`: one server shared by any number of workers and hosts."""

from sessionware.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
