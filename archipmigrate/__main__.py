"""`python -m archipmigrate`, and what the installed command starts."""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType

# Of the default, 700, the imports alone make a hundred collections that find nothing: 15 ms.
COLLECT_EVERY = 20_000


def main() -> int:
    """Run the program, and return its exit status.

    A session has receivers of its own for these signals. Before and after it, SIGUSR1 (show the
    status) does nothing, and SIGTERM ends the program at once, with the status of one that was
    interrupted.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    gc.set_threshold(COLLECT_EVERY)
    try:
        from .cli.streams import open_standard_streams  # noqa: PLC0415 -- see above

        open_standard_streams()  # before anything stays open
        # It takes 0.15 s, in which signals may come.
        from .cli.main import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    status = run()
    gc.freeze()  # or Python looks through all of it once more before it ends: 30 ms
    return status


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
