"""Turns what a request presents into an identity and a session key; the only I/O is fetching keys."""
