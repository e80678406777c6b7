"""Benchmarks: figures, not assertions. `make bench` runs them; docs/speed.md has a run's result."""
