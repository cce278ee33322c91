"""Latency benchmarks: one module per part, each measured beside its peers in one run."""
