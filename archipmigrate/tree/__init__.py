"""Names below an open root; no symbolic link is followed. `files` are made durably; `openat2`."""
