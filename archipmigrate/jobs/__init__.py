"""Jobs: what a unit is and what is done with it. `perms` also is `verify`; `undo` puts runs back."""
