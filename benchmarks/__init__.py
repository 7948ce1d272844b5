"""Benchmarks: clips, truth and protocol, one folder each."""
