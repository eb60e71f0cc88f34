"""`redis+cluster://`: many servers that share 256 buckets, each bucket in one slot."""

from sessionware.stores.redis.cluster.store import RedisClusterStore

__all__ = ["RedisClusterStore"]
