"""Whole small apps to copy from; each runs with one command and is tested as it stands."""
