"""`python -m archipmigrate`, and what the installed command starts."""

from __future__ import annotations

import signal


def main() -> int:
    """Run the program; SIGUSR1 (show the status) does no harm before there is one to show."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        from .cli.main import main as run  # noqa: PLC0415 -- takes 0.2 s, in which signals may come
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
