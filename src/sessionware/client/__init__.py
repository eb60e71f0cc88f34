"""A client for the session API: starts a session, always closes it, and keeps it alive meanwhile.

with SessionClient("http://127.0.0.1:8080", token=token) as session:
session.keep_alive(interval=300)
session.request("POST", "/chat", json={"message": "hello"})
"""

from sessionware.client.asynchronous import AsyncSessionClient
from sessionware.client.synchronous import SessionClient

__all__ = ["AsyncSessionClient", "SessionClient"]
