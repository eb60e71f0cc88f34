"""Typed settings from keywords, flags, environment and TOML: pure parsing; only `files` reads a file."""
