"""The example of adding-a-job.md; `command` would be `cli/rename.py`."""
