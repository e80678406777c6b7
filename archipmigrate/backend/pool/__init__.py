"""The python backend in several processes: `client` starts them, `server` is what each does."""
