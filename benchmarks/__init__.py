"""Benchmarks: each starts what it needs, measures its peers in the same run, prints a table and writes JSON."""
