"""Figures, not assertions. `make bench` runs them; docs/tuning.md has the result of a run."""
