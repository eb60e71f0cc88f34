"""Values and rules: pure and synchronous. No clock, no randomness, no I/O, no logging."""
