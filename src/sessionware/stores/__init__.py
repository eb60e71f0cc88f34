"""All I/O on shared state: one contract, several engines."""
