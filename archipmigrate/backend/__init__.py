"""Backends: what touches files. `base` has the two verbs, `select` chooses, the rest implement them."""
