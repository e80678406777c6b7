"""What a unit is and what is done with it: `perms` (also the look of `verify`), `undo`."""
