"""A small chat service: strangers, users, quotas, a streamed answer, a socket, devices."""
