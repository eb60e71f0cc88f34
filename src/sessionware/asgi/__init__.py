"""The edge: ASGI scopes, messages and responses on one side, our values on the other."""
