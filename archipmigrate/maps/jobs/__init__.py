"""`upgrade` (also the survey and the dry run) and its `undo`; `volumes` is what a unit holds."""
