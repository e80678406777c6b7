"""Figures, not assertions: `make bench`. docs/tuning.md and docs/mapfiles.md have results."""
