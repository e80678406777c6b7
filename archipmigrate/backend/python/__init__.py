"""The `python` backend, and what else works on entries by plain system calls, a module each."""
