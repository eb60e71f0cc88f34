"""A small notebook service with Litestar: the plugin, a guard, the session as a dependency."""
